"""Well-known shapes with random weights: they have a speed, and no quality."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from models.subject import Rows, Subject

SAMPLES = 32
"""Seeded noise to calibrate with, and half of it to run."""


def resnet50(folder: Path) -> Subject:
    from transformers import ResNetConfig, ResNetForImageClassification

    return _pictures(folder, "resnet50", "ResNet-50", ResNetForImageClassification, ResNetConfig(num_labels=1000))


def mobilenetv2(folder: Path) -> Subject:
    from transformers import MobileNetV2Config, MobileNetV2ForImageClassification

    config = MobileNetV2Config(num_labels=1000, image_size=224)
    return _pictures(folder, "mobilenetv2", "MobileNetV2", MobileNetV2ForImageClassification, config)


def deit(folder: Path) -> Subject:
    from transformers import DeiTConfig, DeiTForImageClassification

    config = DeiTConfig(hidden_size=384, intermediate_size=1536, num_attention_heads=6, num_labels=1000)
    return _pictures(folder, "deit-small", "DeiT-small", DeiTForImageClassification, config, transformer=True)


def distilbert(folder: Path) -> Subject:
    from transformers import DistilBertConfig, DistilBertForSequenceClassification

    config = DistilBertConfig(num_labels=2)
    rng = np.random.default_rng(0)

    def inputs(count: int) -> dict[str, np.ndarray]:
        ids = rng.integers(1000, config.vocab_size, (count, 128), np.int64)
        return {"input_ids": ids, "attention_mask": np.ones_like(ids)}

    task = "text-classification"
    return _saved(
        folder, "distilbert-128", "DistilBERT, 128 tokens", DistilBertForSequenceClassification, config, inputs, task,
        transformer=True, shape=("--shape", "sequence=128"),
    )  # fmt: skip


def _pictures(folder: Path, name: str, title: str, kind, config, *, transformer: bool = False) -> Subject:
    rng = np.random.default_rng(0)

    def inputs(count: int) -> dict[str, np.ndarray]:
        return {"pixel_values": rng.standard_normal((count, 3, 224, 224), np.float32)}

    return _saved(folder, name, title, kind, config, inputs, "image-classification", transformer=transformer)


def _saved(folder, name, title, kind, config, inputs, task, *, transformer=False, shape=()) -> Subject:
    import torch

    torch.manual_seed(0)
    kind(config).eval().save_pretrained(folder / "checkpoint")
    Rows(inputs(SAMPLES), None).save(folder / "calibration.npz")
    Rows(inputs(SAMPLES // 2), None).save(folder / "evaluation.npz")
    return Subject(
        name, f"{title}, random weights: speed only", "transformers", "checkpoint",
        task, transformer=transformer,
        # Answers of random weights mean nothing, so that none is held against an artifact.
        export=(
            "--data", "{folder}/evaluation.npz", "--calibration-data", "{folder}/calibration.npz",
            "--min-agreement", "0", *shape,
        ),
    )  # fmt: skip
