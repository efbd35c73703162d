"""Fine-tune all-MiniLM-L6-v2 into a sentiment classifier on SST-2: seeded, a few minutes on two cores."""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import numpy as np

from models.place import assets, minilm, written_whole

LABELS = {0: "negative", 1: "positive"}
EPOCHS = 2
BATCH = 32
ALIKE = 16
"""Batches that are filled by length from one draw: padding to the longest of a mixed batch would double the work."""
RATE = 5e-5
WARMUP = 0.1
"""Share of the steps in which the learning rate rises from nought; afterwards it falls to nought, both linearly."""
LENGTH = 64


def rows(split: str) -> list[tuple[str, int]]:
    """Return the sentences of `train`, `dev` or `test` with their labels."""
    with (assets("data-sst2") / f"{split}.tsv").open(encoding="utf-8", newline="") as file:
        return [(text, int(label)) for text, label in csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)]


def train(target: Path, *, seed: int = 0, epochs: int = EPOCHS, limit: int | None = None) -> dict[str, float]:
    """Write a Hugging Face checkpoint to `target` and return its accuracy on dev and test; `limit` cuts every split."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(seed)
    tokenizer = AutoTokenizer.from_pretrained(minilm())
    model = AutoModelForSequenceClassification.from_pretrained(
        minilm(), num_labels=len(LABELS), id2label=LABELS, label2id={name: key for key, name in LABELS.items()}
    )
    samples = rows("train")[:limit]
    steps = epochs * -(-len(samples) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / (WARMUP * steps), (steps - step) / ((1 - WARMUP) * steps))
    )
    rng = np.random.default_rng(seed)
    began, done = time.monotonic(), 0
    for _ in range(epochs):
        model.train()
        for picked in _batches([len(text) for text, _ in samples], rng):
            texts, labels = zip(*(samples[index] for index in picked), strict=True)
            inputs = tokenizer(list(texts), truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
            loss = model(**inputs, labels=torch.tensor(labels)).loss
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            done += 1
            if done % 20 == 0 or done == steps:
                left = (time.monotonic() - began) / done * (steps - done)
                print(
                    f"\rsst2: step {done} of {steps}, loss {loss.item():.3f}, {left:.0f} s left ",
                    end="",
                    file=sys.stderr,
                )
    print(file=sys.stderr)
    model.eval()
    scores = {split: accuracy(model, tokenizer, rows(split)[:limit]) for split in ("dev", "test")}
    with written_whole(target) as folder:
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        facts = {"seed": seed, "epochs": epochs, "samples": len(samples), "accuracy": scores}
        (folder / "training.json").write_text(json.dumps(facts, indent=1) + "\n")
    return scores


def _batches(lengths: list[int], rng: np.random.Generator) -> list[np.ndarray]:
    """Return one epoch's batches in random order, each of texts of about one length."""
    order = rng.permutation(len(lengths))
    batches = []
    for start in range(0, len(order), ALIKE * BATCH):
        draw = sorted(order[start : start + ALIKE * BATCH], key=lambda index: lengths[index])
        batches += [np.array(draw[at : at + BATCH]) for at in range(0, len(draw), BATCH)]
    return [batches[index] for index in rng.permutation(len(batches))]


def accuracy(model, tokenizer, samples: list[tuple[str, int]]) -> float:
    """Return the share of sentences that the model labels as the data does."""
    import torch

    right = 0
    with torch.inference_mode():
        for start in range(0, len(samples), BATCH):
            texts, labels = zip(*samples[start : start + BATCH], strict=True)
            inputs = tokenizer(list(texts), truncation=True, max_length=LENGTH, padding=True, return_tensors="pt")
            right += int((model(**inputs).logits.argmax(1) == torch.tensor(labels)).sum())
    return right / len(samples)
