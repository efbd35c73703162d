"""Convolutional networks with real weights: digits, CIFAR-10 pictures, keyword spectrograms, objects."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import numpy as np

from models import detection, sound
from models.place import assets
from models.subject import Rows, Subject

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
BRIEF = ("--backend", "onnxruntime", "--bench-seconds", "0.5", "--no-mixed", "--no-tune")
SAMPLES = ("--data", "{folder}/evaluation.npz", "--calibration-data", "{folder}/calibration.npz")


def digits(folder: Path) -> Subject:
    """Return the model that edgekit carries, with its pictures at the network's size; its export is a quick one."""
    from PIL import Image

    import edgekit

    home = Path(edgekit.__file__).parent / "embedded" / "digits"
    if not (folder / "checkpoint").is_dir():
        shutil.copytree(home, folder / "checkpoint", ignore=shutil.ignore_patterns("data"))
    for name, count in (("evaluation", 200), ("calibration", 60)):
        with np.load(home / "data" / f"{name}.npz") as archive:
            gray, labels = archive["image"][:count], archive["label"][:count]
        larger = [np.asarray(Image.fromarray(image).resize((64, 64), Image.Resampling.BILINEAR)) for image in gray]
        pixels = np.repeat(np.stack(larger)[:, None].astype(np.float32) / 127.5 - 1, 3, axis=1)
        Rows({"pixel_values": pixels}, labels).save(folder / f"{name}.npz")
    return Subject(
        "digits", "the example model that edgekit carries, on its own digits", "transformers",
        "checkpoint", "image-classification", metric="accuracy", export=(*SAMPLES, *BRIEF),
    )  # fmt: skip


def resnet20(folder: Path) -> Subject:
    """Return ResNet-20 with 2000 test pictures, and 300 of the training set to calibrate."""
    for split, name, each in (("test", "evaluation", 200), ("train", "calibration", 30)):
        pixels, labels = _cifar(split, each)
        Rows({"pixel_values": pixels}, labels).save(folder / f"{name}.npz")
    return Subject(
        "resnet20", "ResNet-20 on CIFAR-10's pictures as JPEG", "factory", "models.networks:resnet20",
        "image-classification", metric="accuracy", export=SAMPLES,
    )  # fmt: skip


def res8(folder: Path) -> Subject:
    """Return res8 with 60 clips to calibrate and 300 others to judge it on."""
    features, labels = sound.clips()
    for name, rows in (("calibration", slice(0, 60)), ("evaluation", slice(60, None))):
        Rows({"features": features[rows]}, labels[rows]).save(folder / f"{name}.npz")
    return Subject(
        "res8", "res8 keyword spotting on one-second clips", "factory", "models.networks:res8",
        "audio-classification", metric="accuracy", export=SAMPLES,
    )  # fmt: skip


def fastestdet(folder: Path) -> Subject:
    """Return FastestDet with 32 pictures of coco128 to calibrate and the 96 others to judge it on."""
    pixels, boxes = detection.pictures()
    for name, rows in (("calibration", slice(0, 32)), ("evaluation", slice(32, None))):
        Rows({detection.INPUT: pixels[rows]}, None if name == "calibration" else boxes[rows]).save(
            folder / f"{name}.npz"
        )
    shutil.copy(assets("fastestdet") / "FastestDet.onnx", folder)
    return Subject(
        "fastestdet", "FastestDet on coco128, in-sample: for before and after only", "onnx",
        "FastestDet.onnx", "tensor", metric="map50",
        export=(
            "--data", "{folder}/evaluation.npz", "--calibration-data", "{folder}/calibration.npz",
            "--metric", "models.detection:judge",
        ),
    )  # fmt: skip


def _cifar(split: str, each: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the first pictures of every class, normalized, the classes in turn."""
    from PIL import Image

    pictures: list[tuple[int, str, np.ndarray]] = []
    with tarfile.open(assets("data-cifar10") / f"{split}.tar.gz") as archive:
        for member in archive:
            path = Path(member.name)
            if member.isfile() and path.suffix == ".jpg" and int(path.stem) < each:
                picture = Image.open(io.BytesIO(archive.extractfile(member).read())).convert("RGB")
                pictures.append((int(path.stem), path.parent.name, np.asarray(picture, np.float32)))
    pictures.sort(key=lambda entry: entry[:2])
    classes = sorted({name for _, name, _ in pictures})
    pixels = (np.stack([picture for _, _, picture in pictures]) / 255 - np.float32(MEAN)) / np.float32(STD)
    labels = np.array([classes.index(name) for _, name, _ in pictures], np.int64)
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)), labels
