"""Text generation with a cache: from a checkpoint to a bundle that continues a text as transformers does."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from edgekit.data import Sample
from edgekit.errors import AccuracyFailure, UnsupportedError, UsageError
from edgekit.passes.export.export import Export
from edgekit.plugin import Payload
from edgekit.result.report import Report
from edgekit.runner import Program, Runner
from edgekit.spec import DECODER
from edgekit.target.target import load as load_target
from edgekit.tasks import load as load_task
from edgekit.tasks.config import Generation, TaskConfig
from edgekit.tasks.decoding import likely
from edgekit.tasks.task import Prediction
from tests import stories
from tests.wording import raises

torch = pytest.importorskip("torch")

SIZES = {"vocab_size": 60, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
LENGTHS = {"max_position_embeddings": 64}
IDS = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

ARCHITECTURES = {
    "Llama": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2},
    "Qwen2": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2},
    "Qwen3": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4},
    "Mistral": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4},
    "Gemma": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 1, "head_dim": 4},
    "Gemma2": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2, "head_dim": 4},
    "Phi": {**SIZES, **LENGTHS, "intermediate_size": 32},
    "Phi3": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 2, "pad_token_id": 0},
    "GPT2": {"vocab_size": 60, "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "GPTNeoX": {**SIZES, **LENGTHS, "intermediate_size": 32},
    "GPTNeo": {
        **{"vocab_size": 60, "hidden_size": 16, "num_layers": 2, "num_heads": 4, "max_position_embeddings": 64},
        **{"attention_types": [[["global", "local"], 1]], "intermediate_size": 32, "window_size": 4},
    },
    "OPT": {**SIZES, **LENGTHS, "ffn_dim": 32, "word_embed_proj_dim": 16},
    "Bloom": {"vocab_size": 60, "hidden_size": 16, "n_layer": 2, "n_head": 4},
    "Falcon": {**SIZES, "new_decoder_architecture": False, "multi_query": True, "alibi": False},
    "StableLm": {**SIZES, **LENGTHS, "intermediate_size": 32, "num_key_value_heads": 4, "partial_rotary_factor": 0.5},
}

FAST = ("Llama", "GPT2")
TEXTS = ["Once upon a time, there was a little girl named Lily.", "The big dog", "She was sad because"]


def model_of(name, **settings):
    """Return a causal model of random weights, so large that each token depends on the text."""
    import transformers

    prefix = {"GPT2": "GPT2LMHead"}.get(name, f"{name}ForCausalLM")
    kind = getattr(transformers, f"{prefix}Model" if prefix.endswith("LMHead") else prefix)
    torch.manual_seed(3)
    module = kind(getattr(transformers, f"{name}Config")(**{**ARCHITECTURES[name], **IDS}))
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.5
    module.generation_config.update(max_new_tokens=12, eos_token_id=2, **settings)
    return module.eval()


def exported_task(module, tmp_path, **changes):
    """Return the exported model and its task."""
    from edgekit.model import Reference
    from edgekit.sources.torch_module import InMemoryModule

    for name in ("loaded", "exported"):
        (tmp_path / name).mkdir()
    loaded = InMemoryModule(module).load(Reference("model"), tmp_path / "loaded")
    exported = Export().apply(loaded, None, tmp_path / "exported")
    config = TaskConfig.load(exported.assets)
    config = replace(config, generation=replace(config.generation, **changes))
    return exported, load_task(config, exported.assets, exported.inputs)


def opened(backend, model, target, workdir) -> Runner:
    workdir.mkdir()
    built = backend.build(model, target, {}, workdir)
    payload = Payload(workdir, built.files, built.part or model.parts[0], built.options)
    return Program((payload,), model.states).open(backend)


@pytest.mark.parametrize(
    "name", [name if name in FAST else pytest.param(name, marks=pytest.mark.nightly) for name in ARCHITECTURES]
)
def test_the_ids_are_those_of_generate(name, tmp_path):
    from edgekit_onnxruntime import OnnxRuntime
    from edgekit_openvino import OpenVino

    module = model_of(name)
    exported, task = exported_task(module, tmp_path)
    (part,) = exported.parts
    assert part.name == DECODER and {state.start for state in exported.states} == {"empty"}
    assert next(spec for spec in part.given if spec.name == "logits").shape[1] == 1
    target = load_target("host")
    prompts = [[1, 17, 33, 8, 21], [1], [1, 50, 50, 4, 9, 9, 30, 2, 41]]
    for backend in (OnnxRuntime(), OpenVino()):
        with opened(backend, exported, target, tmp_path / backend.name) as runner:
            for prompt in prompts:
                for beams in (1, 3):
                    asked = replace(task, config=with_settings(task, beams=beams))
                    ids = list(asked.stream(Sample({"input_ids": np.array([prompt])}), runner))
                    expected = module.generate(torch.tensor([prompt]), do_sample=False, num_beams=beams)
                    assert ids == expected[0, len(prompt) :].tolist(), (backend.name, prompt, beams)


def with_settings(task, **changes):
    return replace(task.config, generation=replace(task.config.generation, **changes))


def test_activations_stay_in_float_where_rounding_them_misses_the_gate(checkpoint, tmp_path):
    (tmp_path / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS))
    with pytest.raises(AccuracyFailure) as caught:
        edgekit.export(
            str(checkpoint),
            data=str(tmp_path / "texts.csv"),
            candidates=["onnxruntime/int4-weights"],
            min_agreement=1.0,
            bench=False,
            output=str(tmp_path / "out"),
        )
    report = Report.load(caught.value.context["report"])
    by_name = {candidate.name: candidate for candidate in report.candidates}
    rounded, exact = by_name["onnxruntime/int4-weights"], by_name["onnxruntime/int4-weights-exact"]
    assert rounded.effective.main == "i8" and exact.effective.main == "f32"
    assert exact.quality.rel_l2 < rounded.quality.rel_l2
    assert any("rounds activations" in note for note in rounded.notes) and not exact.notes


@pytest.fixture(scope="module")
def checkpoint(assets, tmp_path_factory):
    return stories.checkpoint(assets, tmp_path_factory.mktemp("stories") / "checkpoint")


@pytest.fixture(scope="module")
def shipped(checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    (folder / "texts.csv").write_text("text\n" + "".join(f'"{text}"\n' for text in TEXTS * 2))
    return edgekit.export(
        str(checkpoint),
        data=str(folder / "texts.csv"),
        candidates=["onnxruntime/fp32", "onnxruntime/int8-dynamic", "openvino/fp32"],
        bench=False,
        output=str(folder / "out"),
    )


def test_candidates_are_judged_at_every_token_of_the_users_text(shipped):
    by_name = {candidate.name: candidate for candidate in shipped.report.candidates}
    assert by_name["onnxruntime/fp32"].quality.agreement == 1.0 and by_name["openvino/fp32"].quality.agreement == 1.0
    assert by_name["onnxruntime/fp32"].quality.rel_l2 < 1e-5 < by_name["onnxruntime/int8-dynamic"].quality.rel_l2
    assert not any("without a cache" in note for note in shipped.report.notes)


def test_two_hundred_tokens_are_those_of_torch(shipped, checkpoint):
    from transformers import AutoModelForCausalLM

    bundle = edgekit.open(shipped.bundle.path)
    task = bundle.task()
    task = replace(task, config=with_settings(task, max_new=200, stops=()))
    prompt = task.ids(Sample({"text": TEXTS[0]}, None, ("text",)))
    module = AutoModelForCausalLM.from_pretrained(checkpoint)
    expected = module.generate(torch.tensor([prompt]), max_new_tokens=200, do_sample=False, eos_token_id=None)
    with bundle.runner() as runner:
        ids = list(task.stream(Sample({"text": TEXTS[0]}, None, ("text",)), runner))
    assert len(ids) == 200 and ids == expected[0, len(prompt) :].tolist()


def test_the_bundle_is_verified_call_by_call(shipped):
    report = edgekit.verify(shipped.bundle.path)
    quality = report.candidates[0].quality
    assert report.ok and quality.samples == 4 and quality.rel_l2 < 1e-5


def test_a_fixed_size_is_refused(checkpoint, tmp_path):
    with raises(UnsupportedError, "stay free", "sequence_length", hint="--shape"):
        edgekit.export(str(checkpoint), shapes={"sequence_length": 8}, bench=False, output=str(tmp_path / "out"))


def test_a_text_is_continued_on_the_command_line(shipped):
    words = [str(shipped.bundle.path), "Once upon a time", "--max-new-tokens", "20"]
    plain = CliRunner().invoke(cli, ["run", *words])
    answer = json.loads(CliRunner().invoke(cli, ["run", *words, "--json"]).stdout)
    assert plain.stdout.startswith(answer["answer"]["text"] + "\n") and "generating: 20 tokens" in plain.stdout
    assert answer["answer"]["text"].startswith(", there was") and answer["tokens"] == 20
    assert answer["first_token_ms"] > 0 and answer["tokens_per_s"] > 0


def test_a_seed_decides_what_is_drawn(shipped):
    with shipped.bundle.predictor() as predictor:
        first, second, again = (
            predictor.predict("Once upon a time", temperature=1.5, max_new_tokens=20, seed=seed) for seed in (1, 2, 1)
        )
        best = predictor.predict("Once upon a time", temperature=0, max_new_tokens=20)
    assert first == again != second and best["text"].startswith(", there was")


def test_pieces_are_the_whole_text(shipped):
    with shipped.bundle.predictor() as predictor:
        pieces = list(predictor.generate("The dog", max_new_tokens=40))
        whole = predictor.predict("The dog", max_new_tokens=40)["text"]
    assert len(pieces) > 20 and "".join(pieces) == whole and whole.startswith(" ")


def test_a_table_of_texts_gives_a_line_each(shipped, tmp_path):
    (tmp_path / "texts.csv").write_text('text\nThe dog\n"One day, Lily"\n')
    words = ["run", str(shipped.bundle.path), str(tmp_path / "texts.csv"), "--max-new-tokens", "5"]
    lines = [json.loads(line) for line in CliRunner().invoke(cli, words).stdout.splitlines()]
    assert [line["input"].rpartition(":")[2] for line in lines] == ["1", "2"]
    assert lines[0]["answer"] == shipped.bundle.predict("The dog", max_new_tokens=5)
    result = CliRunner().invoke(cli, [*words, "--output", str(tmp_path / "out.jsonl")])
    assert result.stdout == "" and (tmp_path / "out.jsonl").read_text().count("\n") == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a " * 600], "takes 512"),
        (["one", "two"], "takes one text"),
        (["x", "--temperature", "-1"], "of at least 0"),
        (["x", "--top-p", "3"], "from 0 to 1"),
        (["x", "--max-new-tokens", "0"], "of at least 1"),
    ],
)
def test_what_cannot_be_generated_is_refused(shipped, words, said):
    result = CliRunner().invoke(cli, ["run", str(shipped.bundle.path), *words])
    assert result.exit_code == 2 and said in result.stderr and "hint:" in result.stderr


def test_ids_outside_the_vocabulary_are_refused(shipped):
    with raises(UsageError, "600", "0 to 511"):
        shipped.bundle.predict({"input_ids": np.array([[1, 600]])})


def test_what_is_drawn_from_is_what_transformers_draws_from():
    from transformers.generation import logits_process as theirs

    scores = np.random.default_rng(5).normal(0, 3, 50).astype(np.float32)
    for options in ({"top_k": 7}, {"top_p": 0.8}, {"min_p": 0.1}, {"temperature": 0.4, "top_k": 20, "top_p": 0.5}):
        warpers = [
            theirs.TemperatureLogitsWarper(options.get("temperature", 1.0)),
            *([theirs.TopKLogitsWarper(options["top_k"])] if "top_k" in options else []),
            *([theirs.TopPLogitsWarper(options["top_p"])] if "top_p" in options else []),
            *([theirs.MinPLogitsWarper(options["min_p"])] if "min_p" in options else []),
        ]
        expected = torch.tensor(scores)[None]
        for warper in warpers:
            expected = warper(None, expected)
        ours = likely(Generation(0, sampled=True, **options), scores)
        np.testing.assert_allclose(ours, expected[0].numpy(), rtol=1e-6)


def test_a_metric_compares_what_is_generated_with_the_label(checkpoint, tmp_path):
    """The data's texts are whole prompts then, and its labels what should follow them."""
    rows = "Once upon a time,there was a little dog\n" * 3
    (tmp_path / "pairs.csv").write_text(f"text,label\n{rows}")
    options = {"candidates": ["onnxruntime/fp32"], "bench": False, "output": str(tmp_path / "out")}
    exported = edgekit.export(str(checkpoint), data=str(tmp_path / "pairs.csv"), metric="cer", **options)
    quality, bundle = exported.report.shipped.quality, exported.bundle
    assert quality.metric == "cer" and quality.drop == 0 and quality.equal_texts == quality.samples == 2
    generated = Prediction(bundle.predict("Once upon a time", temperature=0)["text"])
    assert quality.score == pytest.approx(bundle.task().score([generated], ["there was a little dog"]))
