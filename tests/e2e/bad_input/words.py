"""Names, options and values that do not exist."""

from __future__ import annotations

from pathlib import Path

from .case import OUTPUT, case, prepared

_DIGITS = ("export", "digits", "--output", OUTPUT, "--no-bench")

case("no such verb", 2, ("'exprt'", "'export'"), "export, init", "exprt", "digits")
case("no such option", 2, ("'--targt'", "'--target'"), "--target NAME", *_DIGITS, "--targt", "host")
case("no model", 2, "model", ["edgekit export ./my-checkpoint", "edgekit.toml"], "export", "--output", OUTPUT)
case("no such model", 2, ("'digts'", "'digits'"), "hf:org/name", "export", "digts", "--output", OUTPUT)
case("no such folder", 2, "'./checkpoint'", "hf:org/name", "export", "./checkpoint", "--output", OUTPUT)
case("no such target", 2, ("'jetsn'", "'jetson'"), "edgekit targets", *_DIGITS, "--target", "jetsn")
case("no such target file", 2, "'boards/mine.toml'", "edgekit targets", *_DIGITS, "--target", "boards/mine.toml")
case(
    "no such task",
    2,
    ("'image-clasification'", "'image-classification'"),
    "text-classification",
    *_DIGITS,
    "--task",
    "image-clasification",
)
case("no such backend", 2, ("'onnxruntim'", "'onnxruntime'"), "edgekit plugins", *_DIGITS, "--backend", "onnxruntim")
case("no such recipe", 2, ("'int8-statc'", "'int8-static'"), ["fp32", ".toml"], *_DIGITS, "--recipe", "int8-statc")
case(
    "a candidate without a recipe",
    2,
    "'onnxruntime'",
    "backend/recipe",
    *_DIGITS,
    "--candidate",
    "onnxruntime",
)
case(
    "a candidate with no such recipe",
    2,
    ("'int8-statc'", "'int8-static'"),
    ["fp32", ".toml"],
    *_DIGITS,
    "--candidate",
    "onnxruntime/int8-statc",
)
case(
    "a candidate with no such backend",
    2,
    ("'onnxruntim'", "'onnxruntime'"),
    "edgekit plugins",
    *_DIGITS,
    "--candidate",
    "onnxruntim/fp32",
)
case(
    "a recipe that does not suit the model",
    4,
    ("onnxruntime/int8-dynamic", "100%", "ConvInteger"),
    "--recipe int8-static",
    *_DIGITS[:-1],
    *("--recipe", "int8-dynamic", "--backend", "onnxruntime"),
)
case("no such metric", 2, ("'acuracy'", "'accuracy'"), ["f1-macro", "auc"], *_DIGITS, "--metric", "acuracy")
case("a budget below zero", 2, ("'--max-drop'", "-1.0"), "--max-drop X", *_DIGITS, "--max-drop", "-1")
case("a budget that is not a number", 2, "max_drop = nan", "1%, 0.01 or 1pt", *_DIGITS, "--max-drop", "nan")
case(
    "a budget that nothing checks",
    2,
    "max_latency_ms = 5",
    "--no-bench",
    *_DIGITS,
    "--max-latency-ms",
    "5",
)
case("a shape that is not a number", 2, "'batch=two'", "name=size", *_DIGITS, "--shape", "batch=two")
case("a shape the model lacks", 2, ("'bacth'", "'batch'"), "batch", *_DIGITS, "--shape", "bacth=1")
case("pruning without training data", 2, "prune = 0.5", "--train DIR", *_DIGITS, "--prune", "0.5")
case("a share to prune beyond all", 2, ("'--prune'", "1.5", "0<x<1"), "--prune RATIO", *_DIGITS, "--prune", "1.5")
case(
    "training for int8 without training data",
    2,
    "--qat",
    "--train DIR",
    *_DIGITS,
    "--qat",
)
case(
    "no such objective",
    2,
    ("'--objective'", "'speed'", "'latency'"),
    "--objective NAME",
    *_DIGITS,
    "--objective",
    "speed",
)
case(
    "a search that nothing judges",
    2,
    ["search", "latency"],
    ["--no-bench", "--objective size"],
    *_DIGITS,
    "--search",
    "5",
)


@prepared(
    "an unknown key in edgekit.toml",
    2,
    ["edgekit.toml", ("'max_dorp'", "'max_drop'")],
    "max_latency_ms",
    "export",
)
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text('model = "digits"\nmax_dorp = 0.01\n')


@prepared("an edgekit.toml that is not TOML", 2, ["'edgekit.toml'", "TOML", "line 1"], "quotes", "export")
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text("model = digits\n")


@prepared(
    "a value of the wrong type in edgekit.toml",
    2,
    ["edgekit.toml", ("max_drop", "'little'")],
    "1%, 0.01 or 1pt",
    "export",
)
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text('model = "digits"\nmax_drop = "little"\n')


case("no such project file", 2, "'mine.toml'", "edgekit init", "export", "--project", "mine.toml")


@prepared(
    "an unknown key in a target file",
    2,
    ["board.toml", ("'sumary'", "'summary'")],
    "backends",
    *_DIGITS,
    "--target",
    "board.toml",
)
def _(folder: Path) -> None:
    (folder / "board.toml").write_text('name = "board"\nextends = "host"\nsumary = "mine"\n')


@prepared(
    "an unknown pass in a recipe file",
    2,
    ("'quantise-static'", "'quantize-static'"),
    "edgekit plugins",
    *_DIGITS,
    "--recipe",
    "mine.toml",
)
def _(folder: Path) -> None:
    (folder / "mine.toml").write_text('name = "mine"\nsummary = "s"\n[[passes]]\nname = "quantise-static"\n')


@prepared(
    "an unknown key in a recipe's pass",
    2,
    ["'mine'", "'quantize-static'", ("'methd'", "'method'")],
    "percentile",
    *_DIGITS,
    "--recipe",
    "mine.toml",
)
def _(folder: Path) -> None:
    (folder / "mine.toml").write_text(
        'name = "mine"\nsummary = "s"\n[[passes]]\nname = "quantize-static"\nconfig = { methd = "minmax" }\n'
    )
