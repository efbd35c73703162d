"""Bundles that are damaged or not for this machine, feeds that do not fit them, and outputs that are in the way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .case import BUNDLE, OUTPUT, case, export, prepared
from .samples import picture

_RUN = ("run", BUNDLE, "seven.png")
_VERIFY = ("verify", BUNDLE)


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / BUNDLE / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest))


def change_requires(folder: Path, **requires: Any) -> None:
    change_manifest(folder, lambda manifest: manifest["parts"][0]["requires"].update(requires))


def payload(folder: Path) -> Path:
    return folder / BUNDLE / json.loads((folder / BUNDLE / "manifest.json").read_text())["parts"][0]["payload"][0]


case("no such bundle", 2, r"no bundle at 'bundle'", r"edgekit export", *_VERIFY)
case(
    "a folder that is no bundle",
    2,
    r"not a bundle \(it has no manifest\.json\): 'bundle'",
    r"edgekit export",
    *_VERIFY,
    prepare=lambda folder: (folder / BUNDLE).mkdir(),
)


@prepared("a bundle cut short", 8, r"'model/.+' has \d+ bytes, the manifest says \d+", r"again", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    path = payload(folder)
    path.write_bytes(path.read_bytes()[:-1])


@prepared("an altered bundle", 8, r"'model/.+' was altered", r"again", *_RUN, bundle=True)
def _(folder: Path) -> None:
    picture(folder / "seven.png")
    path = payload(folder)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@prepared("a bundle that lacks a file", 8, r"'assets/task\.json' is missing", r"again", "bench", BUNDLE, bundle=True)
def _(folder: Path) -> None:
    (folder / BUNDLE / "assets" / "task.json").unlink()


@prepared(
    "a manifest cut short", 8, r"manifest 'bundle/manifest\.json' cannot be read", r"again", *_VERIFY, bundle=True
)
def _(folder: Path) -> None:
    path = folder / BUNDLE / "manifest.json"
    path.write_text(path.read_text()[:200])


@prepared("a manifest without a key", 8, r"manifest is damaged.*'backend'", r"again", *_VERIFY, bundle=True)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.pop("backend"))


@prepared(
    "a bundle from a newer edgekit",
    8,
    r"'bundle' has schema 99, this edgekit reads up to 1",
    r"pip install --upgrade edgekit",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(schema=99))


@prepared(
    "a bundle for another machine",
    8,
    r"does not run here:.*it needs riscv64, this machine is",
    r"--target host",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_requires(folder, arch="riscv64")


@prepared(
    "a bundle for a processor with more instructions",
    8,
    r"this processor lacks avx9000",
    r"--target host",
    *_VERIFY,
    bundle=True,
)
def _(folder: Path) -> None:
    change_requires(folder, isa=["avx9000"])


@prepared(
    "a bundle for a runtime that is not here", 8, r"needs the package tensorflow-lite>=9", r".", *_VERIFY, bundle=True
)
def _(folder: Path) -> None:
    change_requires(folder, packages={"tensorflow-lite": ">=9"})


@prepared(
    "a portable bundle", 8, r"is portable: its engine is built on the device", r"edgekit finish", *_VERIFY, bundle=True
)
def _(folder: Path) -> None:
    change_manifest(folder, lambda manifest: manifest.update(portable=True))


def feeds(name: str, message: str, make: Callable[[Any], dict[str, Any]], hint: str = r"") -> None:
    def prepare(folder: Path) -> None:
        import numpy as np

        np.savez(folder / "feeds.npz", **make(np))

    case(name, 2, message, hint, "run", BUNDLE, "feeds.npz", prepare=prepare, bundle=True)


feeds("feeds under another name", r"'pixels'|'pixel_values'", lambda np: {"pixels": np.zeros((1, 1, 8, 8), np.float32)})
feeds(
    "feeds of another shape",
    r"'pixel_values'.*\[1, ?1, ?9, ?9\]",
    lambda np: {"pixel_values": np.zeros((1, 1, 9, 9), np.float32)},
)
feeds("feeds of another rank", r"'pixel_values'.*\[8, ?8\]", lambda np: {"pixel_values": np.zeros((8, 8), np.float32)})
feeds(
    "feeds of another type",
    r"'pixel_values'.*(f64|float64)",
    lambda np: {"pixel_values": np.zeros((1, 1, 8, 8), np.float64)},
)
feeds("feeds too many", r"'more'", lambda np: {"pixel_values": np.zeros((1, 1, 8, 8), np.float32), "more": np.zeros(1)})
feeds("feeds too few", r"'pixel_values'", lambda np: {})

case("a picture that is not there", 2, r"no image file 'seven\.png'", r"picture", *_RUN, bundle=True)
case(
    "a picture that does not open",
    2,
    r"'seven\.png'",
    r".",
    *_RUN,
    bundle=True,
    prepare=lambda folder: (folder / "seven.png").write_text("no") and None,
)
case("a text for an image model", 2, r"'What a film\.'", r"picture", "run", BUNDLE, "What a film.", bundle=True)
case(
    "arrays that are none",
    2,
    r"'feeds\.npz'",
    r"numpy\.savez",
    "run",
    BUNDLE,
    "feeds.npz",
    bundle=True,
    prepare=lambda folder: (folder / "feeds.npz").write_text("no") and None,
)

_TO_BUNDLE = ("export", "digits", "--output", BUNDLE, "--no-bench", "--candidate", "onnxruntime/fp32")
case("an output that exists", 2, r"output 'bundle' exists\.", r"--force", *_TO_BUNDLE, bundle=True)


@prepared(
    "an output that is a file", 2, r"output 'out' exists and is a file", r"--output", *export("digits", "--force")
)
def _(folder: Path) -> None:
    (folder / OUTPUT).write_text("mine")


@prepared(
    "an output that is no bundle, with --force",
    2,
    r"output 'out' exists and is not a bundle",
    r"--output",
    *export("digits", "--force"),
)
def _(folder: Path) -> None:
    (folder / OUTPUT).mkdir()
    (folder / OUTPUT / "thesis.txt").write_text("mine")


case("no such report to compare", 2, r"'old\.json'", r".", "compare", BUNDLE, "old.json", bundle=True)
