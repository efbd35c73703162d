"""Hugging Face folders: mutated configs, tokenizers, processors, weights and index files, shown and loaded."""

from __future__ import annotations

import contextlib
import json
import random
import shutil
from pathlib import Path

from edgekit import embedded
from edgekit.cli import checkpoint_facts
from edgekit.model import Reference
from edgekit.sources.hf import HuggingFace
from tests.fuzz import bundles, mutate

FIXTURES = Path(__file__).parent.parent / "fixtures"


def draws(work: Path) -> mutate.Draw:
    """Return what draws a mutated folder in `work`."""
    originals = [FIXTURES / "transformers5" / "bert", _digits(work)]
    source = HuggingFace()

    def draw(generator: random.Random) -> tuple[str, mutate.Use]:
        folder, loaded = work / "folder", work / "loaded"
        for place in (folder, loaded):
            shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(generator.choice(originals), folder)
        if generator.random() < 0.3:
            _shard(folder)
        words = ", ".join(_mutate(folder, generator) for _ in range(generator.choice((1, 1, 1, 3))))
        loaded.mkdir()

        def use() -> None:
            checkpoint_facts.read(folder)
            reference = Reference(ref=str(folder))
            source.check(reference)
            source.outline(reference)
            source.load(reference, loaded)

        return words, use

    return draw


def _digits(work: Path) -> Path:
    """Return a copy of the embedded classifier of pictures, without its data."""
    return Path(shutil.copytree(embedded.folder("digits"), work / "digits", ignore=shutil.ignore_patterns("data")))


def _shard(folder: Path) -> None:
    """Give the weights an index, as a checkpoint of several files has."""
    (folder / "model.safetensors").rename(folder / "model-00001-of-00001.safetensors")
    with (folder / "model-00001-of-00001.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    names = [name for name in header if name != "__metadata__"]
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(names, "model-00001-of-00001.safetensors")}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def _mutate(folder: Path, generator: random.Random) -> str:
    files = sorted(path for path in folder.iterdir() if path.is_file())
    file = generator.choice(files)
    how = generator.random()
    if file.suffix == ".safetensors" and how < 0.7:
        _edit_header(file, generator)
        return f"header of {file.name}"
    if file.suffix == ".json" and how < 0.75:
        try:
            return f"{file.name} {mutate.edit(file, generator)}"
        except (ValueError, RecursionError):  # an earlier mutation damaged it
            return f"{file.name} again"
    if how > 0.97:
        file.unlink()
        return f"without {file.name}"
    content = file.read_bytes()
    file.write_bytes(mutate.text(content, generator))
    return f"{file.name} damaged"


def _edit_header(file: Path, generator: random.Random) -> None:
    """Edit the JSON of a safetensors file's header, and sometimes its length."""
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header = file.with_suffix(".header")
    header.write_bytes(content[8 : 8 + size])
    with contextlib.suppress(ValueError, RecursionError):  # an earlier mutation damaged it
        bundles.edit(header, generator)
    edited = header.read_bytes()
    header.unlink()
    length = len(edited) if generator.random() < 0.9 else generator.choice((0, 1, 2**40, 2**63, size // 2))
    file.write_bytes(length.to_bytes(8, "little") + edited + content[8 + size :])
