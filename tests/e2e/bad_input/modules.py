"""Factories of plain torch modules that do not give what they should."""

from __future__ import annotations

from pathlib import Path

from .case import case, export, prepared

_NET = "import torch\n\ndef make():\n    net = torch.nn.Linear(4, 2).eval()\n"


def code(folder: Path, name: str, text: str) -> None:
    (folder / f"{name}.py").write_text(text)


case("a factory in no module", 2, ["'nowhere'", "'nowhere:make'"], "folder", *export("nowhere:make"))


@prepared(
    "a factory that the module lacks",
    2,
    ["'bad_name'", ("'mak'", "'make'")],
    "module:function",
    *export("bad_name:mak"),
)
def _(folder: Path) -> None:
    code(folder, "bad_name", _NET + "    return net\n")


@prepared(
    "a module that does not import",
    2,
    ("'bad_import'", "ModuleNotFoundError", "'no_such_thing'"),
    "python -c",
    *export("bad_import:make"),
)
def _(folder: Path) -> None:
    code(folder, "bad_import", "import no_such_thing\n")


@prepared(
    "a factory that raises",
    2,
    ("'bad_raise:make'", "KeyError: 'weights'", "bad_raise.py, line 2"),
    "arguments",
    *export("bad_raise:make"),
)
def _(folder: Path) -> None:
    code(folder, "bad_raise", "def make():\n    return {}['weights']\n")


@prepared(
    "a factory that wants arguments",
    2,
    ("'bad_arguments:make'", "TypeError", "'size'"),
    "arguments",
    *export("bad_arguments:make"),
)
def _(folder: Path) -> None:
    code(folder, "bad_arguments", "def make(size):\n    return size\n")


@prepared(
    "a factory that gives no module",
    2,
    ["'bad_kind:make'", "dict", "nn.Module"],
    "example_inputs",
    *export("bad_kind:make"),
)
def _(folder: Path) -> None:
    code(folder, "bad_kind", "def make():\n    return {'weights': 1}\n")


@prepared("a factory without inputs", 2, "'Linear'", "--input", *export("bad_inputs:make"))
def _(folder: Path) -> None:
    code(folder, "bad_inputs", _NET + "    return net\n")


@prepared(
    "example inputs that do not fit",
    2,
    ["Linear", "float32[2, 5]"],
    "--input",
    *export("bad_example:make"),
)
def _(folder: Path) -> None:
    code(folder, "bad_example", _NET + "    return net, torch.zeros(2, 5)\n")


@prepared(
    "a factory's weights that are NaN",
    2,
    ["'Linear'", "1 of 8", "'weight'", "NaN"],
    "checkpoint",
    *export("bad_nan:make"),
)
def _(folder: Path) -> None:
    text = _NET + "    net.weight.data[0, 0] = float('nan')\n    return net, torch.zeros(2, 4)\n"
    code(folder, "bad_nan", text)


@prepared(
    "an input description that is none",
    2,
    "'x[1,4]'",
    "name:dtype[dims]",
    *export("bad_spec:make", "--input", "x[1,4]"),
)
def _(folder: Path) -> None:
    code(folder, "bad_spec", _NET + "    return net\n")


@prepared(
    "a module that torch cannot export",
    9,
    "GuardOnDataDependentSymNode",
    ["--input", "--verbose"],
    *export("bad_branch:make"),
)
def _(folder: Path) -> None:
    text = (
        "import torch\n\nclass Branches(torch.nn.Module):\n    def forward(self, x):\n"
        "        return x + 1 if float(x.sum()) > 0 else x - 1\n\n"
        "def make():\n    return Branches(), torch.ones(2, 4)\n"
    )
    code(folder, "bad_branch", text)
