"""Pictures compared with transformers' slow image processors, on photographs and CIFAR jpegs."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.data import Sample
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.sources.image_processor import image_config
from edgekit.spec import TensorSpec
from edgekit.tasks import ImageConfig, TaskConfig, load
from edgekit.tasks.image import pixels
from tests.wording import raises

PROCESSORS = {
    "ViT": ("ViTImageProcessor", {}),
    "ViT of digits": ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "image_mean": [0.5] * 3}),
    "ViT without normalising": ("ViTImageProcessor", {"do_normalize": False, "resample": 0}),
    "ViT without rescaling": ("ViTImageProcessor", {"do_rescale": False, "image_mean": [127.5] * 3}),
    "ConvNext below 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 224}, "crop_pct": 0.875}),
    "ConvNext at 384": ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}, "resample": 3}),
    "CLIP": ("CLIPImageProcessor", {}),
    "Bit": ("BitImageProcessor", {"size": {"shortest_edge": 256}, "crop_size": {"height": 224, "width": 224}}),
    "Bit, crop larger than the picture": (
        "BitImageProcessor", {"size": {"shortest_edge": 101}, "crop_size": {"height": 224, "width": 131}},
    ),
    "DeiT": ("DeiTImageProcessor", {}),
    "EfficientNet": ("EfficientNetImageProcessor", {}),
    "EfficientNet with offset": (
        "EfficientNetImageProcessor", {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False},
    ),
    "MobileNetV2": ("MobileNetV2ImageProcessor", {}),
    "DETR": ("DetrImageProcessor", {"size": {"shortest_edge": 240, "longest_edge": 300}}),
    "DETR, the longer edge free": ("DetrImageProcessor", {"size": {"shortest_edge": 120, "longest_edge": 999}}),
    "YOLOS": ("YolosImageProcessor", {"size": {"shortest_edge": 240, "longest_edge": 300}}),
    "RT-DETR": ("RTDetrImageProcessor", {"size": {"height": 160, "width": 96}}),
}  # fmt: skip


@pytest.fixture(scope="module")
def photographs(request):
    """Return real pictures: two photographs of scikit-learn, upright, flat and gray, and CIFAR jpegs where they are."""
    from sklearn.datasets import load_sample_images

    whole = [Image.fromarray(image) for image in load_sample_images().images]
    pictures = {"china": whole[0], "flower upright": whole[1].crop((100, 0, 301, 427)), "gray": whole[0].convert("L")}
    assets = request.getfixturevalue("assets")
    with tarfile.open(assets / "data-cifar10" / "test.tar.gz") as archive:
        for name in [name for name in archive.getnames() if name.endswith("0007.jpg")][:2]:
            with Image.open(archive.extractfile(name)) as picture:
                pictures[name] = picture.convert("RGB")
    return pictures


@pytest.mark.parametrize("name", PROCESSORS)
def test_pixels_equal_transformers(name, photographs):
    import transformers

    kind, settings = PROCESSORS[name]
    processor = getattr(transformers, kind)(**settings)
    config, reason = image_config(processor.to_dict(), model_type=None)
    assert config is not None, reason
    for title, picture in photographs.items():
        # A pipeline converts to RGB before the processor sees the picture.
        expected = processor(picture.convert("RGB"), return_tensors="np")["pixel_values"]
        got = pixels(picture, config)
        assert got.dtype == np.float32 and got.shape == expected.shape, title
        assert np.abs(got - expected).max() <= 1e-5, title


def test_channels_and_layout(photographs):
    picture = photographs["china"]
    rgb = pixels(picture, ImageConfig(size=(8, 8)))
    assert np.array_equal(pixels(picture, ImageConfig(size=(8, 8), channels="bgr")), rgb[:, ::-1])
    assert np.array_equal(pixels(picture, ImageConfig(size=(8, 8), layout="nhwc")), rgb.transpose(0, 2, 3, 1))
    gray = pixels(picture, ImageConfig(size=(8, 8), channels="gray"))
    assert gray.shape == (1, 1, 8, 8)
    assert np.array_equal(gray[0, 0] * 255, np.asarray(picture.convert("L").resize((8, 8), 2), np.float32))


def task_for(config, *specs, task="image-classification"):
    return load(TaskConfig(task, labels=("cat", "dog"), image=config), Path("none"), specs)


def test_a_sample_may_be_a_path_bytes_pixels_or_prepared(tmp_path, photographs):
    photographs["china"].save(tmp_path / "a.png")
    config, spec = (
        ImageConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3),
        TensorSpec("pixel_values", "f32", ("N", 3, 16, 16)),
    )
    task = task_for(config, spec)
    (expected,) = task.feeds(Sample({"image": tmp_path / "a.png"}))
    assert expected["pixel_values"].shape == (1, 3, 16, 16)
    array = np.asarray(photographs["china"])
    for value in ((tmp_path / "a.png").read_bytes(), array, array.transpose(2, 0, 1), photographs["china"]):
        assert np.array_equal(task.feeds(Sample({"image": value}))[0]["pixel_values"], expected["pixel_values"])
    prepared = Sample({"pixel_values": expected["pixel_values"][0].astype(np.float64)})
    assert np.array_equal(task.feeds(prepared)[0]["pixel_values"], expected["pixel_values"])


def test_gray_pixels_of_an_array(assets):
    images = np.load(assets / "data-pneumonia-subset" / "pneumoniamnist.npz")["test_images"]
    task = task_for(ImageConfig(input="images", channels="gray"), TensorSpec("images", "f32", ("N", 1, 28, 28)))
    (feeds,) = task.feeds(Sample({"images": images[3]}))
    assert np.array_equal(feeds["images"][0, 0], (images[3] / 255).astype(np.float32))


def test_a_picture_works_for_any_task(photographs):
    task = task_for(ImageConfig(size=(8, 8)), TensorSpec("data", "f32", (1, 3, 8, 8)), task="object-detection")
    assert task.feeds(Sample({"image": photographs["china"]}))[0]["data"].shape == (1, 3, 8, 8)
    assert task.metric is None and not task.compares_top


def test_what_does_not_fit_is_reported(tmp_path, photographs):
    task = task_for(ImageConfig(size=(8, 8)), TensorSpec("pixel_values", "f32", ("N", 3, 9, 9)))
    with raises(UsageError, "'pixel_values'", "[1, 3, 8, 8]"):
        task.feeds(Sample({"image": photographs["china"]}))
    with raises(UsageError, "picture", hint=("'image'", "text")):
        task.feeds(Sample({"text": "hello"}))
    with raises(UsageError, "'image'", "float64", "[8, 8, 3]", hint="uint8"):
        task.feeds(Sample({"image": np.zeros((8, 8, 3))}))
    with raises(UsageError, "gone.png'", "file"):
        task.feeds(Sample({"image": tmp_path / "gone.png"}))


def test_missing_pillow_names_the_line_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    with raises(EnvironmentFault, "Pillow", hint="pip install 'edgekit[tasks]'"):
        task_for(ImageConfig(), TensorSpec("x", "f32", (1, 3, 8, 8))).feeds(Sample({"image": tmp_path / "a.png"}))


@pytest.mark.parametrize("channels", ["rgb", "gray"])
def test_sixteen_bits_become_eight(channels):
    """Pillow's own conversion clips them: a ramp from black to white would be white nearly all over."""
    ramp = np.linspace(0, 65535, 64 * 64).reshape(64, 64).astype(np.uint16)
    image = pixels(Image.fromarray(ramp), ImageConfig(channels=channels))
    np.testing.assert_allclose(image[0, 0], ramp / 65535, atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize(
    ("array", "numbers"),
    [(np.zeros((4, 4), np.float32), "floating-point"), (np.full((4, 4), 10**6, np.int32), "32-bit")],
)
def test_pictures_without_a_known_range_are_refused(array, numbers):
    with raises(UsageError, numbers, hint=("8", "16")):
        pixels(Image.fromarray(array), ImageConfig())
