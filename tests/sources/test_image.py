"""Every mapped image processor computes the pixels that the one of transformers computes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from edgekit.errors import UsageError
from edgekit.sources.image_processor import image_config
from edgekit.tasks.image import pixels
from tests.wording import mentions, raises

CASES = [
    ("ViTImageProcessor", {}),
    ("ViTImageProcessor", {"size": {"height": 48, "width": 40}, "resample": 3, "do_normalize": False}),
    ("ViTImageProcessor", {"do_resize": False, "do_rescale": False}),
    ("SiglipImageProcessor", {}),
    ("SegformerImageProcessor", {}),
    ("DeiTImageProcessor", {}),
    ("DeiTImageProcessor", {"do_center_crop": False}),
    ("BeitImageProcessor", {"size": {"height": 64, "width": 64}, "crop_size": {"height": 60, "width": 50}}),
    ("EfficientNetImageProcessor", {}),
    ("EfficientNetImageProcessor", {"rescale_factor": 1 / 127.5, "rescale_offset": True, "include_top": False}),
    ("EfficientNetImageProcessor", {"do_normalize": False, "do_center_crop": True}),
    ("ConvNextImageProcessor", {}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 100}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 100}, "crop_pct": 0.95}),
    ("BitImageProcessor", {}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 80}, "crop_size": {"height": 72, "width": 72}}),
    ("CLIPImageProcessor", {"crop_size": {"height": 300, "width": 300}}),
    ("LevitImageProcessor", {}),
    ("MobileNetV1ImageProcessor", {}),
    ("MobileNetV2ImageProcessor", {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]}),
    ("MobileViTImageProcessor", {}),
]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A picture with edges, wider than high and of odd sizes."""
    y, x = np.mgrid[0:157, 0:211]
    waves = np.stack(
        [np.sin(x / 7) + np.cos(y / 5), np.sin((x + y) / 11) * 2, (x // 16 + y // 16) % 2 * 2 - 1], axis=-1
    )
    return Image.fromarray(((waves + 2) * 63).astype(np.uint8))


@pytest.mark.parametrize(("kind", "settings"), CASES, ids=[f"{i}-{kind}" for i, (kind, _) in enumerate(CASES)])
def test_pixels_are_those_of_transformers(kind, settings, picture):
    import transformers

    processor = getattr(transformers, kind)(**settings)
    expected = np.asarray(processor(picture, return_tensors="np")["pixel_values"])
    config, reason = image_config(processor.to_dict(), model_type=None)
    assert config is not None, reason
    np.testing.assert_allclose(pixels(picture, config), expected, atol=2e-6)


@pytest.mark.parametrize(("kind", "settings"), [case for case in CASES if not case[1]], ids=lambda value: str(value))
def test_defaults_are_those_of_transformers(kind, settings, picture):
    """A file that names only its class means the class's defaults."""
    import transformers

    expected = np.asarray(getattr(transformers, kind)()(picture, return_tensors="np")["pixel_values"])
    config, _ = image_config({"image_processor_type": kind}, model_type=None)
    np.testing.assert_allclose(pixels(picture, config), expected, atol=2e-6)


def test_old_and_new_names_of_a_class_are_equal():
    configs = [
        image_config({"image_processor_type": f"ViTImageProcessor{end}"}, model_type=None)
        for end in ("", "Fast", "Pil")
    ]
    assert configs == [image_config({"feature_extractor_type": "ViTFeatureExtractor"}, model_type=None)] * 3
    assert configs[0] == image_config({}, model_type="vit")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"image_processor_type": "PixtralImageProcessor"}, "PixtralImageProcessor"),
        ({"image_processor_type": "ViTImageProcessor", "size": {"longest_edge": 9, "shortest_edge": 4}}, "both"),
        ({"image_processor_type": "ViTImageProcessor", "do_pad": True}, "pads"),
        ({}, "class"),
    ],
)
def test_what_has_no_equivalent_is_left_out_with_the_reason(settings, words):
    config, reason = image_config(settings, model_type=None)
    assert config is None and mentions(reason, words)


def test_values_that_are_not_sizes_are_refused():
    with raises(UsageError, "'large'", hint='"height": 224'):
        image_config({"image_processor_type": "ViTImageProcessor", "size": "large"}, model_type=None)
