"""Bundles that are damaged or not for this machine, feeds that do not fit them, and outputs that are in the way."""

from __future__ import annotations

import json
import platform
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import bundles
from tests.wording import Fact

from .case import BUNDLE, OUTPUT, case, export, prepared
from .samples import picture

_RUN = ("run", BUNDLE, "seven.png")
_VERIFY = ("verify", BUNDLE)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    bundles.change_manifest(folder / BUNDLE, change)


def change_requires(folder: Path, **requires: Any) -> None:
    change_manifest(folder, lambda manifest: manifest["parts"][0]["requires"].update(requires))


def payload(folder: Path) -> Path:
    return folder / BUNDLE / json.loads((folder / BUNDLE / "manifest.json").read_text())["parts"][0]["payload"][0]


case("no such bundle", 2, "'bundle'", "edgekit export", *_VERIFY)
case(
    "a folder that is not a bundle",
    2,
    ["'bundle'", "manifest.json"],
    "edgekit export",
    *_VERIFY,
    prepare=lambda folder: (folder / BUNDLE).mkdir(),
)


@prepared("a bundle cut short", 8, re.compile(r"'model/.+' .*\d bytes.*\d"), "export", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    path = payload(folder)
    path.write_bytes(path.read_bytes()[:-1])


@prepared("an altered bundle", 8, [re.compile(r"'model/.+'"), "SHA-256"], "export", *_RUN, bundle=True)
def _(folder: Path) -> None:
    picture(folder / "seven.png")
    path = payload(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@prepared("a bundle that lacks a file", 8, "'assets/task.json'", "export", "bench", BUNDLE, bundle=True)
def _(folder: Path) -> None:
    (folder / BUNDLE / "assets" / "task.json").unlink()


@prepared("a manifest cut short", 8, ["'bundle/manifest.json'", "line 10"], "export", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    path = folder / BUNDLE / "manifest.json"
    path.write_text(path.read_text()[:200])


@prepared("a manifest without a key", 8, ["bundle/manifest.json", "'backend'"], "export", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.pop("backend"))


@prepared(
    "a bundle from a newer edgekit",
    8,
    ["'bundle'", ("schema 99", "3")],
    "pip install --upgrade edgekit",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(schema=99))


@prepared(
    "a bundle for another machine",
    8,
    ["'host'", ("riscv64", platform.machine())],
    "--target host",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_requires(folder, arch="riscv64")


@prepared(
    "a bundle for a processor with more instructions",
    8,
    "avx9000",
    "--target host",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_requires(folder, isa=["avx9000"])


@prepared("a bundle for a runtime that is not here", 8, "tensorflow-lite>=9", "--target host", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    change_requires(folder, packages={"tensorflow-lite": ">=9"})


@prepared("a portable bundle", 8, ["'bundle'", "portable"], "edgekit finish bundle", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(portable=True))


def feeds(
    name: str, facts: Fact, make: Callable[[Any], dict[str, Any]], hint: Fact = "pixel_values:f32[1,3,64,64]"
) -> None:
    def prepare(folder: Path) -> None:
        import numpy as np

        np.savez(folder / "feeds.npz", **make(np))

    case(name, 2, facts, hint, "run", BUNDLE, "feeds.npz", prepare=prepare, bundle=True)


feeds(
    "feeds under another name",
    ["'pixels'", "'pixel_values'"],
    lambda np: {"pixels": np.zeros((1, 1, 8, 8), np.float32)},
)
feeds(
    "feeds of another shape",
    ("'pixel_values'", "[1, 1, 9, 9]"),
    lambda np: {"pixel_values": np.zeros((1, 1, 9, 9), np.float32)},
)
feeds("feeds of another rank", ("'pixel_values'", "[8, 8]"), lambda np: {"pixel_values": np.zeros((8, 8), np.float32)})
feeds(
    "feeds of another type",
    ("'pixel_values'", "float64"),
    lambda np: {"pixel_values": np.zeros((1, 1, 8, 8), np.float64)},
)
feeds("feeds too many", "'more'", lambda np: {"pixel_values": np.zeros((1, 1, 8, 8), np.float32), "more": np.zeros(1)})
feeds("feeds too few", "'pixel_values'", lambda np: {})

case("a picture that is not there", 2, "'seven.png'", ".npz", *_RUN, bundle=True)
case(
    "a picture that does not open",
    2,
    "'seven.png'",
    "data",
    *_RUN,
    bundle=True,
    prepare=lambda folder: (folder / "seven.png").write_text("no") and None,
)
case("a text for an image model", 2, "'What a film.'", ".npz", "run", BUNDLE, "What a film.", bundle=True)
case(
    "arrays that are none",
    2,
    "'feeds.npz'",
    "numpy.savez",
    "run",
    BUNDLE,
    "feeds.npz",
    bundle=True,
    prepare=lambda folder: (folder / "feeds.npz").write_text("no") and None,
)

_TO_BUNDLE = ("export", "digits", "--output", BUNDLE, "--no-bench", "--candidate", "onnxruntime/fp32")
case("an output that exists", 2, ["'bundle'", "exists"], "--force", *_TO_BUNDLE, bundle=True)


@prepared("an output that is a file", 2, ["'out'", "file"], "--output", *export("digits", "--force"))
def _(folder: Path) -> None:
    (folder / OUTPUT).write_text("mine")


@prepared(
    "an output that is not a bundle, with --force",
    2,
    ["'out'", "bundle"],
    "--output",
    *export("digits", "--force"),
)
def _(folder: Path) -> None:
    (folder / OUTPUT).mkdir()
    (folder / OUTPUT / "thesis.txt").write_text("mine")


case("no such report to compare", 2, "'old.json'", "report.json", "compare", BUNDLE, "old.json", bundle=True)
