"""Names, options and values that do not exist."""

from __future__ import annotations

from pathlib import Path

from .case import OUTPUT, case, prepared

_DIGITS = ("export", "digits", "--output", OUTPUT, "--no-bench")

case("no such verb", 2, r"no command 'exprt'.*'export'", r"edgekit --help", "exprt", "digits")
case("no such option", 2, r"no option '--targt'.*'--target'", r"edgekit export --help", *_DIGITS, "--targt", "host")
case("no model", 2, r"no model is given", r"edgekit export \./", "export", "--output", OUTPUT)
case("no such model", 2, r"'digts' is no model.*'digits'", r"hf:org/name", "export", "digts", "--output", OUTPUT)
case("no such folder", 2, r"'\./checkpoint'", r"", "export", "./checkpoint", "--output", OUTPUT)
case("no such target", 2, r"'jetsn'.*'jetson'", r"edgekit targets", *_DIGITS, "--target", "jetsn")
case("no such target file", 2, r"boards/mine\.toml", r"edgekit targets", *_DIGITS, "--target", "boards/mine.toml")
case(
    "no such task", 2, r"'image-clasification'.*'image-classification'", r".", *_DIGITS, "--task", "image-clasification"
)
case("no such backend", 2, r"'onnxruntim'.*'onnxruntime'", r"edgekit plugins", *_DIGITS, "--backend", "onnxruntim")
case(
    "no such recipe", 2, r"'int8-statc'.*'int8-static'", r"built in: fp32, .*\.toml", *_DIGITS, "--recipe", "int8-statc"
)
case(
    "a candidate without a recipe",
    2,
    r"'onnxruntime' is no candidate",
    r"backend/recipe",
    *_DIGITS,
    "--candidate",
    "onnxruntime",
)
case(
    "a candidate with no such recipe",
    2,
    r"'int8-statc'.*'int8-static'",
    r"built in: fp32, .*\.toml",
    *_DIGITS,
    "--candidate",
    "onnxruntime/int8-statc",
)
case(
    "a candidate with no such backend",
    2,
    r"'onnxruntim'.*'onnxruntime'",
    r"edgekit plugins",
    *_DIGITS,
    "--candidate",
    "onnxruntim/fp32",
)
case(
    "a recipe that does not suit the model",
    4,
    r"dynamic int8 does not suit this graph.*ConvInteger",
    r"--recipe",
    *_DIGITS[:-1],
    *("--recipe", "int8-dynamic", "--backend", "onnxruntime"),
)
case("no such metric", 2, r"'acuracy'.*'accuracy'", r".", *_DIGITS, "--metric", "acuracy")
case("a budget below zero", 2, r"-1", r"edgekit export --help", *_DIGITS, "--max-drop", "-1")
case("a budget that is no number", 2, r"max_drop = nan", r".", *_DIGITS, "--max-drop", "nan")
case(
    "a budget that nothing checks",
    2,
    r"max_latency_ms.*nothing is measured",
    r"--no-bench",
    *_DIGITS,
    "--max-latency-ms",
    "5",
)
case("a shape that is no number", 2, r"the shape 'batch=two'", r"name=size", *_DIGITS, "--shape", "batch=two")
case("a shape the model lacks", 2, r"'bacth'.*'batch", r".", *_DIGITS, "--shape", "bacth=1")
case(
    "pruning without training data", 2, r"prune = 0\.5 needs training data", r"--train DIR", *_DIGITS, "--prune", "0.5"
)
case("a share to prune beyond all", 2, r"'--prune': 1\.5 is not in the range 0<x<1", r".", *_DIGITS, "--prune", "1.5")
case(
    "training for int8 without training data",
    2,
    r"--qat needs training data",
    r"--train DIR",
    *_DIGITS,
    "--qat",
)
case("no such objective", 2, r"'speed' is not one of 'latency', ", r".", *_DIGITS, "--objective", "speed")
case("a search that nothing judges", 2, r"nothing is measured", r"--objective size", *_DIGITS, "--search", "5")


@prepared(
    "an unknown key in edgekit.toml",
    2,
    r"'max_dorp'.*edgekit\.toml.*'max_drop'|edgekit\.toml.*'max_dorp'.*'max_drop'",
    r".",
    "export",
)
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text('model = "digits"\nmax_dorp = 0.01\n')


@prepared("an edgekit.toml that is no TOML", 2, r"'edgekit\.toml' is not valid TOML", r".", "export")
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text("model = digits\n")


@prepared("a value of the wrong type in edgekit.toml", 2, r"max_drop", r".", "export")
def _(folder: Path) -> None:
    (folder / "edgekit.toml").write_text('model = "digits"\nmax_drop = "little"\n')


case("no such project file", 2, r"no project file 'mine\.toml'", r"edgekit init", "export", "--project", "mine.toml")


@prepared("an unknown key in a target file", 2, r"'sumary'.*'summary'", r".", *_DIGITS, "--target", "board.toml")
def _(folder: Path) -> None:
    (folder / "board.toml").write_text('name = "board"\nextends = "host"\nsumary = "mine"\n')


@prepared(
    "an unknown pass in a recipe file",
    2,
    r"'quantise-static'.*'quantize-static'",
    r".",
    *_DIGITS,
    "--recipe",
    "mine.toml",
)
def _(folder: Path) -> None:
    (folder / "mine.toml").write_text('name = "mine"\nsummary = "s"\n[[passes]]\nname = "quantise-static"\n')


@prepared("an unknown key in a recipe's pass", 2, r"'methd'.*'method'", r".", *_DIGITS, "--recipe", "mine.toml")
def _(folder: Path) -> None:
    (folder / "mine.toml").write_text(
        'name = "mine"\nsummary = "s"\n[[passes]]\nname = "quantize-static"\nconfig = { methd = "minmax" }\n'
    )
