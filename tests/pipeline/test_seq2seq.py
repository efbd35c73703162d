"""Translation, from a tiny Marian checkpoint to a bundle that answers as transformers does; T5 and BART as parts."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from edgekit_onnxruntime import OnnxRuntime

import edgekit
from edgekit.cli import cli
from edgekit.data import Sample
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Reference
from edgekit.passes.export.export import Export
from edgekit.plugin import Payload
from edgekit.report import accuracy
from edgekit.runner import Program
from edgekit.sources.hf import HuggingFace
from edgekit.sources.torch_module import InMemoryModule
from edgekit.spec import DECODER, ENCODER
from edgekit.tasks import drive, load, user_input
from edgekit.tasks.config import TaskConfig
from tests.wording import raises

torch = pytest.importorskip("torch")

FILES = Path(__file__).parent.parent / "fixtures" / "marian"
TEXTS = ["ein hund rennt", "der wald", "kind im wald und hund", "", "straßhund läuf"]


def seeded(module):
    """Return a module of weights so large that each token depends on the text."""
    torch.manual_seed(2)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.4
    return module.eval()


def marian(**settings):
    from transformers import MarianConfig, MarianMTModel

    count = len(json.loads((FILES / "vocab.json").read_text()))
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    ids = {"pad_token_id": count - 1, "decoder_start_token_id": count - 1, "eos_token_id": 0, "forced_eos_token_id": 0}
    module = seeded(MarianMTModel(MarianConfig(vocab_size=count, **sizes, **heads, **ids)))
    module.generation_config.update(max_length=12, bad_words_ids=[[count - 1]], **settings)
    return module


def t5():
    from transformers import T5Config, T5ForConditionalGeneration

    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    return seeded(T5ForConditionalGeneration(T5Config(vocab_size=60, decoder_start_token_id=0, **sizes)))


def bart():
    from transformers import BartConfig, BartForConditionalGeneration

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    config = BartConfig(vocab_size=60, attn_implementation="eager", **sizes, **heads)
    return seeded(BartForConditionalGeneration(config))


RELATIVES = {
    "MBart": "translation",
    "M2M100": "translation",
    "Pegasus": "summarization",
    "BigBirdPegasus": "summarization",
    "BlenderbotSmall": "text2text-generation",
}


def relative(name):
    """Return a network of BART's relatives."""
    import transformers

    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    full = {"attention_type": "original_full"} if name == "BigBirdPegasus" else {}
    config = getattr(transformers, f"{name}Config")(vocab_size=60, decoder_start_token_id=2, **sizes, **heads, **full)
    return seeded(getattr(transformers, f"{name}ForConditionalGeneration")(config))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = Path(shutil.copytree(FILES, tmp_path_factory.mktemp("marian") / "checkpoint"))
    marian(num_beams=3, encoder_no_repeat_ngram_size=1).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def shipped(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    with (folder / "data.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("de", "en"))
        rows.writerows((text, f"text {place}") for place, text in enumerate(TEXTS * 2))
    return edgekit.export(
        str(checkpoint),
        data=str(folder / "data.csv"),
        text_columns=("de",),
        label_column="en",
        candidates=["onnxruntime/fp32"],
        bench=False,
        output=str(folder / "out"),
    )


def test_the_bundle_is_judged_token_by_token(shipped):
    quality = shipped.report.shipped.quality
    assert shipped.report.task == "translation" and quality.agreement == 1.0 and quality.rel_l2 < 1e-5
    assert quality.metric == "chrf" and quality.score == quality.original_score
    assert quality.equal_texts == quality.samples and quality.perplexity == pytest.approx(quality.original_perplexity)
    words = dict(accuracy.judged(quality))
    assert "next-token agreement" in words["outputs"] and "perplexity" in words["texts"]
    assert any("3 beams" in note for note in shipped.report.notes)
    assert any("encoder_no_repeat_ngram_size" in note for note in shipped.report.notes), (
        "a setting that is not followed"
    )
    parts = [part.part.name for part in shipped.bundle.manifest.parts]
    assert parts == [ENCODER, DECODER]
    states = {state.name for state in shipped.bundle.manifest.states}
    assert states >= {"past.0.self.key", "past.1.cross.value"}


def test_a_metric_of_the_users_own_is_given_the_texts(checkpoint, shipped, tmp_path, monkeypatch):
    (tmp_path / "text_lengths.py").write_text(
        "def words(texts, labels):\n"
        "    assert all(isinstance(text, str) for text in [*texts, *labels]), texts\n"
        "    assert labels[0].startswith('text '), labels\n"
        "    return sum(len(text.split()) for text in texts) / 100\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = {"data": str(shipped.bundle.path.parent / "data.csv"), "text_columns": ("de",), "label_column": "en"}
    settings |= {"candidates": ["onnxruntime/fp32"], "bench": False, "output": str(tmp_path / "out")}
    quality = edgekit.export(str(checkpoint), metric="text_lengths:words", **settings).report.shipped.quality
    assert quality.metric == "text_lengths:words" and quality.original_score > 0
    with raises(UsageError, "translation", "accuracy", hint="exact-match"):
        edgekit.export(str(checkpoint), metric="accuracy", force=True, **settings)


def test_greedy_and_beam_ids_are_those_of_transformers(shipped, checkpoint):
    answers_as_transformers(shipped, checkpoint, TEXTS)


@pytest.mark.nightly
def test_many_texts_are_those_of_transformers(shipped, checkpoint):
    draw = np.random.default_rng(3)
    words = [word for text in TEXTS for word in text.split()]
    answers_as_transformers(shipped, checkpoint, [" ".join(draw.choice(words, size)) for size in range(1, 41)])


def answers_as_transformers(shipped, checkpoint, texts):
    """Assert that greedy search and beams give the ids of `generate`."""
    from transformers import MarianMTModel

    module, bundle = MarianMTModel.from_pretrained(checkpoint).eval(), shipped.bundle
    task = user_input.by_position(bundle.task(), bundle.path / "assets", bundle.program.inputs)
    with bundle.runner() as runner:
        for text in texts:
            sample = user_input.sample(task, [text])
            feeds = {name: torch.from_numpy(array) for name, array in task.feeds(sample)[0].items()}
            inferences = drive(task, sample, runner.start())
            assert list(task.predict([each.outputs for each in inferences]).choices) == ids(
                module, feeds, num_beams=1, encoder_no_repeat_ngram_size=0
            )
            assert list(task.stream(sample, runner)) == ids(module, feeds, encoder_no_repeat_ngram_size=0)


def ids(module, feeds, **options):
    """Return what transformers generates, without the first token."""
    return module.generate(**feeds, **options)[0].tolist()[1:]


def test_a_text_is_translated_on_the_command_line(shipped):
    path = str(shipped.bundle.path)
    answer = json.loads(CliRunner().invoke(cli, ["run", path, "ein hund", "--json"]).output)["answer"]
    shown = CliRunner().invoke(cli, ["run", path, "ein hund"])
    assert answer["translation"] and answer["translation"] in shown.output and "generating" in shown.output
    refused = CliRunner().invoke(cli, ["run", path, "ein", "hund"])
    assert refused.exit_code == 2 and "one text" in refused.output


def test_the_shipped_bundle_is_verified(shipped):
    assert edgekit.verify(shipped.bundle.path).ok


def test_the_device_needs_no_framework(shipped):
    """In a child process, in which even what is installed here cannot be imported."""
    program = (
        "import sys; from edgekit.testing import import_blocker\n"
        "with import_blocker('torch', 'transformers', 'optimum', 'onnx', 'onnxscript', 'sentencepiece', 'google'):\n"
        "    from edgekit.cli import cli; cli(['run', sys.argv[1], 'ein hund rennt', '--json'])\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(shipped.bundle.path)], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    here = CliRunner().invoke(cli, ["run", str(shipped.bundle.path), "ein hund rennt", "--json"])
    assert json.loads(run.stdout)["answer"] == json.loads(here.output)["answer"]


@pytest.mark.nightly
@pytest.mark.parametrize("name", RELATIVES)
def test_relatives_generate_the_same_ids(name, tmp_path):
    assert generates_the_same_ids(relative(name), tmp_path) == RELATIVES[name]


@pytest.mark.parametrize("make", [t5, bart])
def test_other_families_generate_the_same_ids(make, tmp_path):
    assert generates_the_same_ids(make(), tmp_path) == "text2text-generation"


def generates_the_same_ids(module, tmp_path):
    """Compare with transformers, and return the task."""
    work = tmp_path / "model"
    work.mkdir()
    loaded = InMemoryModule(module).load(Reference("live"), tmp_path)
    model = Export().apply(loaded, None, work)
    task = load(TaskConfig.load(model.assets), model.assets, model.inputs)
    payloads = tuple(Payload(work, (part.file,), part) for part in model.parts)
    source = np.array([[5, 9, 21, 33, 1]])
    sample = Sample({"input_ids": source, "attention_mask": np.ones_like(source)})
    feeds = {name: torch.from_numpy(array) for name, array in task.feeds(sample)[0].items()}
    with Program(payloads, model.states).open(OnnxRuntime()) as runner:
        assert list(task.stream(sample, runner)) == ids(module, feeds)
    return task.config.task


def test_sizes_stay_free(checkpoint, tmp_path):
    (tmp_path / "loaded").mkdir()
    (tmp_path / "exported").mkdir()
    model = HuggingFace().load(Reference(str(checkpoint)), tmp_path / "loaded")
    with pytest.raises(UnsupportedError, match="encoder_sequence_length"):
        Export(shapes={"encoder_sequence_length": 8}).apply(model, None, tmp_path / "exported")
