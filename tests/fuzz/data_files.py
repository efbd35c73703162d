"""Data files with damage of every kind, read to their last sample."""

from __future__ import annotations

import io
import json
import random
import shutil
from pathlib import Path

import numpy as np

from edgekit.data import DataRef, load
from tests.fuzz import bundles, mutate


def originals() -> dict[str, bytes]:
    """Return whole files by name."""
    import pyarrow
    from PIL import Image
    from pyarrow import parquet

    packed, plain, table = io.BytesIO(), io.BytesIO(), io.BytesIO()
    arrays = {"x": np.arange(60, dtype=np.float32).reshape(6, 10), "y": np.arange(6)}
    np.savez_compressed(packed, **arrays)
    np.savez(plain, **arrays)
    columns = {"text": ["a b c", "é ü"] * 10, "label": list(range(20)), "scores": [[0.5, 1.0]] * 20}
    parquet.write_table(pyarrow.table(columns), table)
    rows = ["text,label,more", *['"a, b",1,2.5', "d e f,0,-1e3", 'é "" x,1,'] * 8]
    files = {
        "a.npz": packed.getvalue(),
        "b.npz": plain.getvalue(),
        "a.parquet": table.getvalue(),
        "a.csv": "\n".join(rows).encode(),
        "a.tsv": "\n".join(row.replace(",", "\t") for row in rows).encode(),
        "a.jsonl": (json.dumps({"text": "a é", "label": 1, "more": {"x": [1, 2.5, None]}}) + "\n").encode() * 8,
        "numbers.csv": ("x0,x1,label\n" + "0.5,1.5,a\n2,3,b\n" * 8).encode(),
    }
    for suffix, mode in (
        ("png", "RGB"),
        ("jpeg", "L"),
        ("gif", "P"),
        ("bmp", "RGB"),
        ("webp", "RGB"),
        ("tiff", "RGBA"),
    ):
        content = io.BytesIO()
        Image.effect_noise((24, 20), 60).convert(mode).save(content, suffix)
        files[f"a.{suffix}"] = content.getvalue()
    return files


PICTURES = (".png", ".jpeg", ".gif", ".bmp", ".webp", ".tiff")


def draws(work: Path) -> mutate.Draw:
    """Return what draws a mutated data file in `work`."""
    files = originals()

    def draw(generator: random.Random) -> tuple[str, mutate.Use]:
        name = generator.choice(sorted(files))
        content = files[name]
        changed = (
            mutate.text(content, generator) if Path(name).suffix not in PICTURES else mutate.damage(content, generator)
        )
        if name.endswith(".jsonl") and generator.random() < 0.5:
            changed = _lines(content, generator, work)
        place = work / "data"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        file = place / name
        if file.suffix in PICTURES:
            (place / "a").mkdir()
            (place / "b").mkdir()
            (place / "b" / name).write_bytes(content)
            file = place / "a" / name
        file.write_bytes(changed)
        columns = generator.choice(({}, {}, {}, {"label_column": "label"}, {"text_columns": ("text",)}))
        ref = DataRef(str(place if file.suffix in PICTURES else file), **columns)
        return f"{name} {columns}", lambda: _read(ref)

    return draw


def _read(ref: DataRef) -> None:
    for sample in load(ref):
        for value in sample.fields.values():
            str(value)


def _lines(content: bytes, generator: random.Random, work: Path) -> bytes:
    """Return lines of JSON, some of them edited."""
    lines = content.decode().splitlines()
    for at in range(len(lines)):
        if generator.random() < 0.3:
            file = work / "line.json"
            file.write_text(lines[at])
            bundles.edit(file, generator)
            lines[at] = file.read_text()
    return "\n".join(lines).encode()
