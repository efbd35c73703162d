"""Every model of the benchmarks by name, and what makes each: `prepare` gives its folder, made once."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from models import picture, shape, text
from models.place import work, written_whole
from models.subject import Subject

Make = Callable[[Path], Subject]


@dataclass(frozen=True)
class Entry:
    """One model: what it is in a line, and the function that fills its folder."""

    summary: str
    make: Make


CATALOGUE: dict[str, Entry] = {
    "digits": Entry("the example model that edgekit carries, on its own digits", picture.digits),
    "minilm-32": Entry("all-MiniLM-L6-v2 on STS-B, 32 tokens", text.minilm(32)),
    "minilm-128": Entry("all-MiniLM-L6-v2 on STS-B, 128 tokens", text.minilm(128)),
    "sst2": Entry("MiniLM fine-tuned to sentiment on SST-2, 64 tokens", text.sst2),
    "resnet20": Entry("ResNet-20 on CIFAR-10's pictures as JPEG", picture.resnet20),
    "res8": Entry("res8 keyword spotting on one-second clips", picture.res8),
    "fastestdet": Entry("FastestDet on coco128, in-sample: for before and after only", picture.fastestdet),
    "resnet50": Entry("ResNet-50, random weights: speed only", shape.resnet50),
    "mobilenetv2": Entry("MobileNetV2, random weights: speed only", shape.mobilenetv2),
    "distilbert-128": Entry("DistilBERT, 128 tokens, random weights: speed only", shape.distilbert),
    "deit-small": Entry("DeiT-small, random weights: speed only", shape.deit),
}

ALIASES = {"minilm": ("minilm-32", "minilm-128")}


def names(asked: str) -> list[str]:
    """Read a list of names, joined by commas; `real` are those with real weights, `all` everything but digits."""
    chosen: list[str] = []
    for word in asked.split(","):
        if word == "all":
            chosen += [name for name in CATALOGUE if name != "digits"]
        elif word == "real":
            chosen += [name for name, entry in CATALOGUE.items() if name != "digits" and "random" not in entry.summary]
        elif word in ALIASES:
            chosen += ALIASES[word]
        elif word in CATALOGUE:
            chosen.append(word)
        else:
            raise SystemExit(
                f"no model is named '{word}'.\nhint: known: {', '.join(CATALOGUE)}; also real, all, minilm"
            )
    return list(dict.fromkeys(chosen))


def prepare(name: str) -> Path:
    """Return the folder of a model's record and samples; what is there already is kept."""
    folder = work() / "models" / name
    if (folder / "subject.json").is_file():
        return folder
    print(f"{name}: preparing the model and its samples", file=sys.stderr)
    with written_whole(folder) as draft:
        # What a training left there earlier took long to make.
        if (folder / "checkpoint").is_dir():
            shutil.copytree(folder / "checkpoint", draft / "checkpoint")
        CATALOGUE[name].make(draft).save(draft)
    return folder
