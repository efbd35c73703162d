"""The commented project file that `edgekit init` writes."""

from __future__ import annotations

from pathlib import Path

from edgekit.errors import UsageError

TEMPLATE = """\
# edgekit.toml: the settings of `edgekit export`. Options on the command line override it.

# The model: a Hugging Face folder, hf:org/name, a .onnx file, package.module:factory, or an embedded model.
model = "./my-checkpoint"

# The task is read from the model where it can be; the error for a wrong name lists the known ones.
# task = "image-classification"

# Where the model will run: `host` is this machine; `edgekit targets` lists the others.
target = "host"

# Where the bundle goes.
# output = "out/my-checkpoint"

# Labelled samples of your own: an image folder, csv, tsv, jsonl, parquet, npz, a `datasets` folder, or
# package.module:function. They decide what may be shipped. Without `calibration`, some of them calibrate int8, and
# candidates are evaluated on the others.
data = "./val"
# calibration = "./calibration"
# train = "./train"        # for recipes that train: what pruning loses is recovered on it
# prune = 0.5              # try the recipes without this share of the multiply-adds too
# split = "test"
# text_columns = ["sentence"]
# label_column = "label"
# labels = ["cat", "dog"]  # the classes in the order of the model's output, where the model has no names
# positive_class = "dog"   # of two classes, the one that AUC and F1 are of
# output_name = "probabilities"

# Budgets. max_drop is absolute: 0.01, "1%" or "1pt" is one point of accuracy. Missing one fails the export.
max_drop = 0.01
# min_agreement = 0.99     # without labels: share of samples with the original's top-1 answer
# max_latency_ms = 5.0     # p50, one inference
# max_size_mb = 25.0
# max_memory_mb = 300.0    # at peak, the interpreter and the runtime included

# What the candidates within the budgets are ranked by: latency, throughput (samples per second, in batches), size or
# memory. objective = "latency"

# Combinations to try beyond the target's candidates; a search that was stopped continues.
# search = 30

# Four samples of the data travel in the bundle, with the original's outputs, so that a device can prove it. For data on
# people: "synthetic" (random inputs), or "none" (then only `verify --data` can check it).
# samples = "synthetic"

# The most time for repairs, which leave the costliest layers of int8 candidates in float.
# repair_seconds = 300

# One recipe instead of the target's candidates (`edgekit recipes` lists them).
# recipe = "int8-static"

# Fix or free sizes of the graph.
# [shapes]
# batch = 1
# sequence = 128

# Settings for one target.
# [targets.jetson]
# max_drop = 0.02
"""


def write_template(path: Path) -> None:
    """Write a commented project file. Raises UsageError where one exists."""
    if path.exists():
        raise UsageError(f"'{path}' exists already.", hint="edit it, or remove it first")
    path.write_text(TEMPLATE)
