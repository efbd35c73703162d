"""Text models with real weights: a sentence encoder on STS-B, a sentiment classifier on SST-2."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from models import sst2 as sentiment
from models.place import assets
from models.place import minilm as minilm_folder
from models.subject import Rows, Subject

CALIBRATION = 300
"""Texts, for every tool: what NNCF takes when nothing is said."""


def minilm(length: int) -> Callable[[Path], Subject]:
    """Return the maker of all-MiniLM-L6-v2 at a fixed number of tokens."""

    def make(folder: Path) -> Subject:
        checkpoint = folder / "checkpoint"
        if not checkpoint.is_dir():
            shutil.copytree(minilm_folder(), checkpoint)
        # All pairs take a float runtime minutes at 128 tokens; both lists are the first rows of their files.
        most = 1379 if length == 32 else 300
        for split, name, count in (("test", "evaluation", most), ("train", "calibration", CALIBRATION // 2)):
            pairs = _pairs(split)[:count]
            with (folder / f"{name}.csv").open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("a", "b", "score"), *pairs])
            texts = [text for first, second, _ in pairs for text in (first, second)]
            arrays = tokens(checkpoint, texts, length)
            Rows(arrays, np.array([score for _, _, score in pairs])).save(folder / f"{name}.npz")
        return Subject(
            f"minilm-{length}", f"all-MiniLM-L6-v2 on STS-B, {length} tokens", "transformers", "checkpoint",
            "sentence-similarity", transformer=True, metric="spearman", allowed=0.005, pairs=True,
            export=(
                "--data", "{folder}/evaluation.csv", "--calibration-data", "{folder}/calibration.csv",
                "--text-column", "a", "--text-column", "b", "--label-column", "score", "--shape", f"sequence={length}",
            ),
        )  # fmt: skip

    return make


def sst2(folder: Path) -> Subject:
    """Train the classifier unless it is there, and write its samples."""
    checkpoint = folder / "checkpoint"
    if not (checkpoint / "config.json").is_file():
        sentiment.train(checkpoint)
    for split, name, count in (("test", "evaluation", None), ("train", "calibration", CALIBRATION)):
        samples = sentiment.rows(split)[:count]
        arrays = tokens(checkpoint, [text for text, _ in samples], sentiment.LENGTH)
        Rows(arrays, np.array([label for _, label in samples], np.int64)).save(folder / f"{name}.npz")
    return Subject(
        "sst2", "MiniLM fine-tuned to sentiment on SST-2, 64 tokens", "transformers",
        "checkpoint", "text-classification", transformer=True, metric="accuracy",
        export=(
            "--data", "{folder}/evaluation.npz", "--calibration-data", "{folder}/calibration.npz",
            "--shape", f"sequence={sentiment.LENGTH}",
        ),
    )  # fmt: skip


def tokens(checkpoint: Path, texts: Sequence[str], length: int) -> dict[str, np.ndarray]:
    """Return the inputs of a BERT-like model, each [count, length] of int64."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    encoded = tokenizer(list(texts), truncation=True, max_length=length, padding="max_length", return_tensors="np")
    return {name: np.asarray(array, np.int64) for name, array in encoded.items()}


def _pairs(split: str) -> list[tuple[str, str, float]]:
    path = assets("data-stsb") / f"stsb-en-{split}.csv"
    with path.open(encoding="utf-8", newline="") as file:
        return [(first, second, float(score)) for first, second, score in csv.reader(file)]
