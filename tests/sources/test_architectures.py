"""Tiny checkpoints of many kinds: the class in config.json decides what is exported, whole, or the refusal says why."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.errors import UnsupportedError, UsageError
from edgekit.evaluation import dataset
from edgekit.frameworks import class_task, optimum_config
from edgekit.model import Reference
from edgekit.sources.hf import HuggingFace
from edgekit.sources.torch_module import load_module
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig
from tests.wording import raises

WIDTH = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
IDS = {"input_ids": np.array([[5, 6, 7, 8, 9]] * 3), "attention_mask": np.ones((3, 5), np.int64)}
LETTERS = {"id2label": {0: "a", 1: "b"}, "label2id": {"a": 0, "b": 1}}
PICTURES = {"pixel_values": np.random.default_rng(0).standard_normal((3, 3, 32, 32), np.float32)}


def save(folder: Path, name: str, config) -> Path:
    import torch
    import transformers

    torch.manual_seed(0)
    getattr(transformers, name)(config).eval().save_pretrained(folder)
    return folder


def segformer():
    import transformers

    return transformers.SegformerConfig(
        hidden_sizes=[4, 8], depths=[1, 1], num_attention_heads=[1, 2], num_encoder_blocks=2, decoder_hidden_size=8,
        sr_ratios=[2, 1], patch_sizes=[7, 3], strides=[4, 2], mlp_ratios=[2, 2], **LETTERS,
    )  # fmt: skip


def clip_vision():
    import transformers

    return transformers.CLIPVisionConfig(image_size=32, patch_size=16, projection_dim=6, **WIDTH)


def biogpt():
    import transformers

    return transformers.BioGptConfig(vocab_size=40, pad_token_id=1, **LETTERS, **WIDTH)


def video():
    import transformers

    return transformers.VideoMAEConfig(image_size=32, patch_size=16, num_frames=2, tubelet_size=1, **LETTERS, **WIDTH)


@pytest.mark.parametrize(
    ("name", "config", "feeds", "task", "output"),
    [
        ("SegformerForImageClassification", segformer, PICTURES, "image-classification", "logits"),
        ("SegformerForSemanticSegmentation", segformer, PICTURES, "semantic-segmentation", "logits"),
        ("CLIPVisionModelWithProjection", clip_vision, PICTURES, "feature-extraction", "image_embeds"),
        ("BioGptForSequenceClassification", biogpt, IDS, "text-classification", "logits"),
        (
            "VideoMAEForVideoClassification",
            video,
            {"pixel_values": np.random.default_rng(0).standard_normal((3, 2, 3, 32, 32), np.float32)},
            "tensor",
            "logits",
        ),
    ],
)
def test_the_class_decides_the_task_and_what_is_exported(
    tmp_path, load, export, run_graph, name, config, feeds, task, output
):
    loaded = load(HuggingFace(), save(tmp_path / "checkpoint", name, config()))
    exported = export(loaded)
    settings = TaskConfig.load(exported.assets)
    assert (settings.task, settings.output) == (task, output)
    assert settings.labels == (("a", "b") if task.endswith(("-classification", "-segmentation")) else ())
    wanted = loaded.original.run(feeds)[output]
    np.testing.assert_allclose(run_graph(exported, feeds)[output], wanted, atol=1e-4)


@pytest.mark.parametrize(
    ("model_type", "name", "task"),
    [
        ("bart", "BartForConditionalGeneration", "text2text-generation"),
        ("bart", "BartForSequenceClassification", "text-classification"),
        ("mbart", "MBartForConditionalGeneration", "text2text-generation"),
        ("sam", "SamModel", "mask-generation"),
        ("clip", "CLIPTextModelWithProjection", "feature-extraction"),
        ("vision-encoder-decoder", "VisionEncoderDecoderModel", "image-to-text"),
        ("roberta", "CamembertForMaskedLM", "fill-mask"),
        ("xlm", "XLMWithLMHeadModel", "fill-mask"),
        ("beit", "BeitForSemanticSegmentation", "semantic-segmentation"),
        ("bert", "BertForPreTraining", None),
    ],
)
def test_the_task_of_a_class(model_type, name, task):
    assert class_task.infer_task(name, model_type) == task


@pytest.fixture(scope="module")
def translator(tmp_path_factory) -> Path:
    import transformers

    encoder, decoder = (transformers.BertConfig(vocab_size=40, **WIDTH) for _ in range(2))
    config = transformers.EncoderDecoderConfig.from_encoder_decoder_configs(encoder, decoder)
    return save(tmp_path_factory.mktemp("translator"), "EncoderDecoderModel", config)


def test_a_composite_of_encoder_and_decoder_is_refused_and_its_encoder_is_exported(
    translator, tmp_path, load, export, run_graph
):
    import torch
    import transformers

    with raises(UnsupportedError, "'encoder-decoder'", hint="package.module:factory"):
        load(HuggingFace(), translator)
    encoder = transformers.EncoderDecoderModel.from_pretrained(translator).get_encoder().eval()
    examples = {name: torch.from_numpy(array) for name, array in IDS.items()}
    model = load_module((encoder, examples), Reference(ref="live"), tmp_path)
    feeds = {**IDS, "token_type_ids": np.zeros((3, 5), np.int64)}
    wanted = model.original.run(feeds)["last_hidden_state"]
    np.testing.assert_allclose(run_graph(export(model), feeds)["last_hidden_state"], wanted, atol=1e-4)


def test_a_classifier_on_a_decoder_without_a_pad_token_says_how_to_name_it(tmp_path, load, export, run_graph):
    import transformers

    config = transformers.GPT2Config(
        vocab_size=40, n_embd=16, n_layer=1, n_head=2, n_positions=32, bos_token_id=0, eos_token_id=3, **LETTERS
    )
    folder = save(tmp_path / "gpt2", "GPT2ForSequenceClassification", config)
    with raises(UsageError, hint=("config.json", '"pad_token_id": 3')):
        load(HuggingFace(), folder)
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**settings, "pad_token_id": 3}))
    exported = export(loaded := load(HuggingFace(), folder))
    padded = {"input_ids": np.array([[5, 6, 3, 3], [5, 6, 7, 8]]), "attention_mask": np.array([[1, 1, 0, 0], [1] * 4])}
    short = {"input_ids": np.array([[5, 6]]), "attention_mask": np.ones((1, 2), np.int64)}
    graph = run_graph(exported, padded)["logits"]
    np.testing.assert_allclose(graph, loaded.original.run(padded)["logits"], atol=1e-4)
    np.testing.assert_allclose(graph[:1], loaded.original.run(short)["logits"], atol=1e-4)


def test_a_classifier_that_answers_from_the_end_token_gets_one_in_each_synthetic_text(tmp_path, load):
    import transformers

    config = transformers.BartConfig(
        vocab_size=40, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2, encoder_ffn_dim=16,
        decoder_attention_heads=2, decoder_ffn_dim=16, max_position_embeddings=32, **LETTERS,
    )  # fmt: skip
    loaded = load(HuggingFace(), save(tmp_path / "bart", "BartForSequenceClassification", config))
    specs = tuple(TensorSpec(name, "i64", ("batch_size", "sequence_length")) for name in IDS)
    feeds = dataset.synthetic_feeds(specs, 0, loaded.input_hints)
    assert feeds["input_ids"][0, -1] == 2 and (feeds["input_ids"] == 2).sum() == 1
    assert loaded.original.run(feeds)["logits"].shape == (1, 2)


def test_an_example_picture_has_the_size_that_the_processor_makes(tmp_path):
    class Described:
        _config = type("Config", (), {"_name_or_path": str(tmp_path)})

    path = tmp_path / "preprocessor_config.json"
    assert optimum_config.picture(Described) == {"height": 224, "width": 224}
    path.write_text(json.dumps({"size": {"height": 64, "width": 96}}))
    assert optimum_config.picture(Described) == {"height": 64, "width": 96}
    path.write_text(json.dumps({"size": {"shortest_edge": 64}}))
    assert optimum_config.picture(Described) == {"height": 224, "width": 224}
