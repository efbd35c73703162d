"""Hugging Face checkpoints: what a sound one becomes, and how each damaged one is reported."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit import tasks
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Reference
from edgekit.sources.checkpoint import check_sizes
from edgekit.sources.hf import HuggingFace
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.text import Texts
from tests.wording import raises

SAVED_BY_5 = Path(__file__).parent.parent / "fixtures" / "transformers5"


def edit(path: Path, **changes) -> None:
    settings = json.loads(path.read_text())
    path.write_text(json.dumps({**settings, **changes}))


def edit_weights(folder: Path, change) -> None:
    from safetensors.torch import load_file, save_file

    file = folder / "model.safetensors"
    state = load_file(file)
    change(state)
    save_file(state, file, metadata={"format": "pt"})


def test_embedded_model_comes_with_labels_and_processing(load, export, run_graph):
    model = load(HuggingFace(), "digits")
    config = TaskConfig.load(model.assets)
    assert (model.task, model.info.architecture) == ("image-classification", "ResNetForImageClassification")
    assert config.labels == tuple("0123456789")
    assert (config.image.size, config.image.resize, config.output) == ((64, 64), "exact", "logits")
    exported = export(model)
    # Pictures have one size and three channels, so the graph has too; the number of pictures stays free.
    assert str(exported.part.inputs[0]) == "pixel_values:f32[batch_size,3,64,64]"
    feeds = {"pixel_values": np.random.default_rng(0).standard_normal((3, 3, 64, 64), np.float32)}
    np.testing.assert_allclose(run_graph(exported, feeds)["logits"], model.original.run(feeds)["logits"], atol=1e-4)


@pytest.mark.parametrize("name", ["num_hidden_layers", "type_vocab_size"])
def test_a_network_without_end_is_refused(tmp_path, name):
    with raises(UsageError, name, "config.json'", hint="origin"):
        check_sizes({name: 10**30}, tmp_path / "config.json")


def test_text_model_brings_tokenizer_and_limit(load):
    config = TaskConfig.load(load(HuggingFace(), SAVED_BY_5 / "bert").assets)
    assert config.labels == ("bad", "fair", "good")
    assert config.text.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert (config.text.max_length, config.text.pad_id) == (32, 0)


def test_task_can_be_named(load):
    model = load(HuggingFace(), SAVED_BY_5 / "bert", task="feature-extraction")
    ids = np.array([[2, 5, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    assert model.original.run(feeds)["last_hidden_state"].shape == (1, 3, 32)


def test_processor_may_be_in_another_folder(load, checkpoint, tmp_path):
    (tmp_path / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.move(checkpoint / name, tmp_path / "tokenizer" / name)
    bare = TaskConfig.load(load(HuggingFace(), checkpoint).assets)
    assert bare.text is None and "no tokenizer" in bare.no_preprocessing
    model = load(HuggingFace(), checkpoint, processor=str(tmp_path / "tokenizer"))
    assert TaskConfig.load(model.assets).text.max_length == 32
    with raises(UsageError, "nowhere'", hint="tokenizer.json"):
        HuggingFace().check(Reference(ref=str(checkpoint), processor=str(tmp_path / "nowhere")))


def without_config(folder):
    (folder / "config.json").unlink()


def without_weights(folder):
    (folder / "model.safetensors").unlink()


def only_gguf(folder):
    without_weights(folder)
    (folder / "model.gguf").write_bytes(b"GGUF")


def broken_json(folder):
    (folder / "config.json").write_text('{"model_type": "bert"')


def truncated(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])


def header_only(folder):
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:50])


def empty(folder):
    (folder / "model.safetensors").write_bytes(b"")


def pointer(folder):
    (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")


def missing_shard(folder):
    shutil.move(folder / "model.safetensors", folder / "model-00001-of-00002.safetensors")
    shards = {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))


def outside_shard(folder):
    shutil.copyfile(folder / "model.safetensors", folder.parent / "outside.safetensors")
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../outside.safetensors"}}))


def remote_code(folder):
    edit(folder / "config.json", auto_map={"AutoModel": "modeling_mine.MyModel"})


@pytest.mark.parametrize(
    ("spoil", "message", "hint"),
    [
        (without_config, "config.json", None),
        (without_weights, ["config.json", "weights"], "model.safetensors"),
        (only_gguf, "'model.gguf'", None),
        (broken_json, "config.json'", "truncated"),
        (truncated, ["model.safetensors'", ("81,664 bytes", "81,764")], "again"),
        (header_only, ["header", "model.safetensors'"], "truncated"),
        (empty, ["model.safetensors'", "not a safetensors file"], "truncated"),
        (pointer, "Git LFS", "git lfs pull"),
        (outside_shard, ("'../outside.safetensors'",), "shards"),
        (missing_shard, "model-00002-of-00002.safetensors", "again"),
        (remote_code, "modeling_mine.MyModel", "--trust-remote-code"),
    ],
)
def test_spoiled_files_are_found_without_a_framework(checkpoint, spoil, message, hint):
    spoil(checkpoint)
    with raises(UsageError, message) as caught:
        HuggingFace().check(Reference(ref=str(checkpoint)))
    assert hint is None or hint in caught.value.hint


def nan_weight(folder):
    def change(state):
        state["bert.encoder.layer.1.output.dense.weight"][0, 0] = float("nan")

    edit_weights(folder, change)


def infinite_weight(folder):
    def change(state):
        state["classifier.bias"][1] = float("inf")

    edit_weights(folder, change)


def without_head(folder):
    edit_weights(folder, lambda state: [state.pop(name) for name in ("classifier.weight", "classifier.bias")])


def other_shape(folder):
    edit(folder / "config.json", intermediate_size=40)


def other_type(folder):
    edit(folder / "config.json", model_type="brt")


def no_class(folder):
    edit(folder / "config.json", architectures=["BertForNothing"])


def bad_tokenizer(folder):
    (folder / "tokenizer.json").write_text('{"model": 1}')


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (nan_weight, ("1 of 1,536", "'bert.encoder.layer.1.output.dense.weight'")),
        (infinite_weight, ("1 of 3", "'classifier.bias'")),
        (without_head, ["'text-classification'", "classifier.bias, classifier.weight"]),
        (other_shape, ["weights", "size mismatch for bias"]),
        (other_type, ["'brt'", re.compile(r"transformers 4\.57")]),
        (no_class, "'BertForNothing'"),
        (bad_tokenizer, ["tokenizer", "KeyError: 'added_tokens'"]),
    ],
)
def test_spoiled_contents_are_named(load, checkpoint, spoil, message):
    spoil(checkpoint)
    with raises(UsageError, "/checkpoint", message):
        load(HuggingFace(), checkpoint)


def test_missing_pooler_matters_only_where_it_is_used(load, checkpoint):
    edit_weights(checkpoint, lambda state: [state.pop(f"bert.pooler.dense.{kind}") for kind in ("weight", "bias")])
    assert load(HuggingFace(), checkpoint, task="feature-extraction").task == "feature-extraction"
    with raises(UsageError, "'text-classification'", "bert.pooler.dense.bias"):
        load(HuggingFace(), checkpoint)


def test_tasks_that_do_not_fit_are_refused(load, checkpoint):
    with raises(UsageError, ("'text-clasification'", "'text-classification'")):
        load(HuggingFace(), checkpoint, task="text-clasification")
    with raises(UsageError, "'question-answering'", "qa_outputs.weight", hint="--task"):
        load(HuggingFace(), checkpoint, task="question-answering")
    with raises(UnsupportedError, "'image-segmentation'"):
        load(HuggingFace(), checkpoint, task="image-segmentation")
    with raises(UsageError, "checkpoint'", "1_Pooling/config.json", hint="--task feature-extraction"):
        load(HuggingFace(), checkpoint, task="sentence-similarity")


def as_pickle(folder: Path, extra=None) -> Path:
    import torch
    from safetensors.torch import load_file

    file = folder / "model.safetensors"
    state = load_file(file)
    file.unlink()
    torch.save(state if extra is None else {**state, "extra": extra}, folder / "pytorch_model.bin")
    return folder / "pytorch_model.bin"


def test_weights_only_files_are_read(load, checkpoint):
    plain = load(HuggingFace(), checkpoint).original
    ids = np.array([[2, 5, 3]])
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
    before = plain.run(feeds)["logits"]
    as_pickle(checkpoint)
    after = load(HuggingFace(), checkpoint)
    # Not to the bit: the weights' place in memory decides the order of sums.
    np.testing.assert_allclose(after.original.run(feeds)["logits"], before, rtol=1e-5, atol=1e-6)
    assert after.info.trusted == ()


class Touch:
    """An object whose unpickling creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return (Path.touch, (self.path,))


def test_pickles_do_not_run(load, checkpoint, tmp_path):
    file = as_pickle(checkpoint, Touch(tmp_path / "ran"))
    with raises(UsageError, "pytorch_model.bin'", "pickle", hint="--allow-pickle") as caught:
        load(HuggingFace(), checkpoint)
    assert str(file) in caught.value.message and "--allow-pickle" in caught.value.hint
    assert not (tmp_path / "ran").exists()


def test_allowed_pickles_are_recorded(load, checkpoint, tmp_path):
    as_pickle(checkpoint)
    assert load(HuggingFace(), checkpoint, allow_pickle=True).info.trusted == ("pickle: pytorch_model.bin",)


def test_allowed_code_runs_and_is_recorded(checkpoint, tmp_path):
    """In a child process: transformers keeps the modules of trusted code loaded."""
    (checkpoint / "modeling_mine.py").write_text(
        "from transformers import BertForSequenceClassification\n"
        "class Mine(BertForSequenceClassification):\n"
        "    def forward(self, *args, **kwargs):\n"
        "        result = super().forward(*args, **kwargs)\n"
        "        result.logits = result.logits * 0 + 7\n"
        "        return result\n"
    )
    edit(checkpoint / "config.json", auto_map={"AutoModelForSequenceClassification": "modeling_mine.Mine"})
    (tmp_path / "work").mkdir()
    script = (
        "import sys, numpy as np; from pathlib import Path; from edgekit.model import Reference\n"
        "from edgekit.sources.hf import HuggingFace\n"
        f"reference = Reference(ref={str(checkpoint)!r}, trust_remote_code=True)\n"
        f"model = HuggingFace().load(reference, Path({str(tmp_path / 'work')!r}))\n"
        "ids = np.array([[2, 5, 3]])\n"
        "feeds = dict(input_ids=ids, attention_mask=ids * 0 + 1, token_type_ids=ids * 0)\n"
        "print(list(model.info.trusted), model.original.run(feeds)['logits'].tolist())\n"
    )
    printed = python(script, HF_HOME=str(tmp_path / "home"))
    assert printed == "['remote code: modeling_mine.py'] [[7.0, 7.0, 7.0]]"


def python(script: str, **environment: str) -> str:
    import os

    done = subprocess.run(
        [sys.executable, "-c", script], env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_checks_and_digests_import_no_framework(checkpoint):
    script = (
        "import sys; from edgekit.model import Reference; from edgekit.sources.hf import HuggingFace\n"
        f"source, reference = HuggingFace(), Reference(ref={str(checkpoint)!r})\n"
        "source.check(reference); assert len(source.digest(reference)) == 64\n"
        "print([name for name in ('torch', 'transformers', 'onnx', 'numpy', 'optimum') if name in sys.modules])"
    )
    assert python(script) == "[]"


def test_digest_follows_the_files_that_define_the_model(checkpoint, tmp_path):
    source, reference = HuggingFace(), Reference(ref=str(checkpoint))
    first = source.digest(reference)
    (checkpoint / "README.md").write_text("words")
    assert source.digest(reference) == first
    moved = shutil.copytree(checkpoint, tmp_path / "moved")
    assert source.digest(Reference(ref=str(moved))) == first
    seen = {first, source.digest(Reference(ref=str(checkpoint), task="feature-extraction"))}
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        with (checkpoint / name).open("ab") as file:
            file.write(b" ")
        seen.add(source.digest(reference))
    assert len(seen) == 5


def test_weight_files_alone_are_explained(tmp_path):
    (tmp_path / "model.pt").write_bytes(b"x")
    source = HuggingFace()
    assert source.claims(str(tmp_path / "model.pt"))
    with raises(UsageError, "model.pt'", hint="package.module:factory") as caught:
        source.check(Reference(ref=str(tmp_path / "model.pt")))
    assert "package.module:factory" in caught.value.hint


def random_checkpoint(folder: Path, model) -> Path:
    model.save_pretrained(folder)
    return folder


def test_an_architecture_whose_examples_optimum_cannot_make_is_traced(tmp_path, load, export, run_graph):
    import transformers

    sizes = {"image_size": 28, "patch_size": 14, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
    model = transformers.Dinov2ForImageClassification(transformers.Dinov2Config(**sizes))
    loaded = load(HuggingFace(), random_checkpoint(tmp_path / "dinov2", model))
    exported = export(loaded)
    assert exported.task == "image-classification"
    feeds = {"pixel_values": np.random.default_rng(0).standard_normal((3, 3, 28, 28), np.float32)}
    np.testing.assert_allclose(run_graph(exported, feeds)["logits"], loaded.original.run(feeds)["logits"], atol=1e-4)


def test_a_task_that_optimum_does_not_infer_follows_from_the_class(tmp_path, load):
    import transformers

    sizes = {"image_size": 16, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = transformers.DeiTForImageClassification(transformers.DeiTConfig(intermediate_size=16, **sizes))
    assert load(HuggingFace(), random_checkpoint(tmp_path / "deit", model)).task == "image-classification"


def test_dense_outputs_have_sizes_of_their_own(tmp_path, load, export, run_graph):
    """optimum gives the sides of a segmentation map the names of the picture's, though they are a quarter of them."""
    import transformers

    sizes = {"hidden_sizes": [8, 16, 32, 64], "depths": [1] * 4, "num_attention_heads": [1, 2, 4, 8]}
    config = transformers.SegformerConfig(decoder_hidden_size=16, num_labels=3, **sizes)
    folder = random_checkpoint(tmp_path / "segformer", transformers.SegformerForSemanticSegmentation(config))
    model = load(HuggingFace(), folder)
    free = export(model)
    assert free.part.outputs[0].shape == ("batch_size", 3, "logits_height", "logits_width")
    fixed = export(model, shapes={"height": 64, "width": 96})
    assert fixed.part.inputs[0].shape == ("batch_size", 3, 64, 96)
    feeds = {"pixel_values": np.random.default_rng(0).standard_normal((2, 3, 64, 96), np.float32)}
    logits = run_graph(fixed, feeds)["logits"]
    assert logits.shape == (2, 3, 16, 24)
    assert fixed.part.outputs[0].shape[2:] in ((16, 24), ("logits_height", "logits_width"))
    np.testing.assert_allclose(logits, model.original.run(feeds)["logits"], atol=1e-4)


def test_a_decoder_without_a_first_token_is_named(tmp_path, load):
    import transformers

    config = transformers.T5Config(d_model=16, d_ff=24, num_layers=1, num_heads=2, d_kv=8, vocab_size=40)
    folder = random_checkpoint(tmp_path / "t5", transformers.T5ForConditionalGeneration(config))
    with raises(UsageError, "token", hint="decoder_start_token_id"):
        load(HuggingFace(), folder)


def test_buffers_that_follow_from_the_configuration_are_computed(tmp_path, load):
    """transformers 5 does not save Swin's table of relative positions, and 4.57 fills it with arbitrary values."""
    import torch
    import transformers
    from safetensors.torch import load_file, save_file

    sizes = {"image_size": 32, "patch_size": 4, "embed_dim": 8, "depths": [1, 1], "num_heads": [1, 2], "window_size": 4}
    torch.manual_seed(0)
    model = transformers.SwinForImageClassification(transformers.SwinConfig(num_labels=3, **sizes)).eval()
    folder = random_checkpoint(tmp_path / "swin", model)
    state = load_file(folder / "model.safetensors")
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("relative_position_index")}
    assert len(kept) < len(state)
    save_file(kept, folder / "model.safetensors", {"format": "pt"})
    pixels = np.random.default_rng(0).standard_normal((1, 3, 32, 32), np.float32)
    with torch.no_grad():
        expected = model(torch.from_numpy(pixels)).logits
    logits = load(HuggingFace(), folder).original.run({"pixel_values": pixels})["logits"]
    np.testing.assert_allclose(logits, expected, atol=1e-5)


def test_quantized_checkpoints_and_adapters_are_refused(checkpoint):
    source, reference = HuggingFace(), Reference(ref=str(checkpoint))
    (checkpoint / "adapter_config.json").write_text("{}")
    with raises(UsageError, "adapter_config.json", hint="merge_and_unload()") as caught:
        source.check(reference)
    assert "merge" in caught.value.hint
    (checkpoint / "adapter_config.json").unlink()
    edit(checkpoint / "config.json", quantization_config={"quant_method": "gptq", "bits": 4})
    with raises(UnsupportedError, "gptq"):
        source.check(reference)


def test_a_task_that_the_architecture_does_not_have(load, checkpoint):
    with raises(UnsupportedError, "'bert'", "'image-classification'", hint="--task"):
        load(HuggingFace(), checkpoint, task="image-classification")


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"problem_type": "multi_label_classification"}, {"labels", "top"}),
        ({"problem_type": "regression"}, {"outputs"}),
        ({}, {"label", "score", "top"}),
    ],
)
def test_what_the_outputs_mean_is_read_from_the_checkpoint(settings, keys, load, checkpoint, tmp_path):
    edit(checkpoint / "config.json", **settings)
    model = load(HuggingFace(), checkpoint)
    task = tasks.load(TaskConfig.load(model.assets), model.assets, [TensorSpec.parse("input_ids:i64[1,length]")])
    logits = np.array([[0.4, -2.0, 3.0]], np.float32)
    answer = task.answer([{"logits": logits}])
    assert set(answer) == keys
    if "labels" in answer:
        assert len(answer["labels"]) == 2
        assert answer["top"][0]["score"] == pytest.approx(1 / (1 + np.exp(-3.0)))
        assert task.predict([{"logits": logits}]).value == (True, False, True)
        assert task.metric is None


def test_one_output_is_a_number(load, checkpoint, tmp_path):
    import transformers

    config = transformers.AutoConfig.from_pretrained(checkpoint, num_labels=1)
    folder = random_checkpoint(tmp_path / "one", transformers.BertForSequenceClassification(config))
    model = load(HuggingFace(), folder)
    config = TaskConfig.load(model.assets)
    task = tasks.load(config, model.assets, [TensorSpec.parse("input_ids:i64[1,length]")])
    assert task.answer([{"logits": np.array([[0.25]], np.float32)}]) == {"value": 0.25}
    assert (task.metric, config.labels) == ("spearman", ())


def test_sentence_transformers_lowers_and_prompts_outside_the_tokenizer(load, checkpoint):
    plain = HuggingFace()
    (checkpoint / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 16, "do_lower_case": True}))
    prompts = {"prompts": {"query": "find: "}, "default_prompt_name": "query"}
    (checkpoint / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    model = load(plain, checkpoint, task="feature-extraction")
    config = TaskConfig.load(model.assets)
    assert (config.text.prefix, config.text.max_length) == ("find: ", 16)
    texts = Texts(config.text, model.assets, [TensorSpec.parse("input_ids:i64[1,length]")])
    assert texts.tokenizer.normalizer is not None
    first, second = (texts.encode([text])["input_ids"] for text in ("ABC abc", "abc ABC"))
    np.testing.assert_array_equal(first, second)
    bare = replace(texts, config=replace(config.text, prefix=""))
    assert bare.encode(["find: abc"])["input_ids"].tolist() == texts.encode(["abc"])["input_ids"].tolist()
