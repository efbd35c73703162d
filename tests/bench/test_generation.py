"""The times of generation: to the first token at a stated length of the prompt, and of each token after it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

import edgekit
from edgekit.bench import Workload, generation
from edgekit.data import Sample
from edgekit.errors import DeviceError, UsageError
from edgekit.pipeline.planning import for_generation, plan
from edgekit.project import Project
from edgekit.report import conditions, html, markdown, text
from edgekit.result.report import Report
from edgekit.spec import DECODER, ENCODER
from edgekit.target import host
from edgekit.tasks import chat
from tests import stories
from tests.wording import mentions, raises


@pytest.fixture(scope="module")
def bundle(assets, tmp_path_factory):
    folder = tmp_path_factory.mktemp("language-model")
    (folder / "texts.csv").write_text('text\n"Once upon a time, there was a little girl named Lily."\n"The big dog"\n')
    checkpoint = stories.checkpoint(assets, folder / "checkpoint")
    settings = json.loads((checkpoint / "tokenizer_config.json").read_text())
    template = "{{ bos_token }}{% for message in messages %}{{ message.role }}: {{ message.content }} {% endfor %}"
    (checkpoint / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": template}))
    edgekit.export(
        str(checkpoint),
        data=str(folder / "texts.csv"),
        candidates=["onnxruntime/fp32"],
        bench=False,
        output=str(folder / "out"),
    )
    return folder / "out"


def test_the_medians_are_those_of_the_runs():
    ids = {"input_ids": np.zeros((1, 7), np.int64)}
    trace = [(ENCODER, ids), (DECODER, {}), *[(DECODER, {})] * 2]
    times = np.array([[1, 2, 4, 6], [3, 4, 4, 6], [8, 9, 5, 5]], np.int64) * 1_000_000
    summary = generation.summarise(times, trace, 20.0, 10.0)
    assert (summary.count, summary.tokens, summary.prompt_tokens) == (3, 3, 7)
    assert summary.first_token_ms == 7 and summary.token_ms == 5 and summary.tokens_per_s == 200
    assert summary.read_gb_per_s == 4
    assert mentions(conditions.generation(summary), "7.00 ms", "prompt of 7 tokens", "200 tokens", "40.0%")
    alone = generation.summarise(times[:, :2], trace[:2], 20.0, None)
    assert alone.tokens == 1 and alone.tokens_per_s is None and alone.read_gb_per_s is None
    assert mentions(conditions.generation(alone), "7.00 ms", "1 token")


def test_only_decoders_generate():
    assert generation.generates([(ENCODER, {}), (DECODER, {})])
    assert not generation.generates({"x": np.zeros(1)}) and not generation.generates([("lift", {}), ("sum", {})])


def test_the_memory_is_read():
    assert 0.1 < generation.memory_gb_per_s() < 10_000


@pytest.mark.parametrize(("prompt", "new"), [(40, 5), (3, 1)])
def test_a_bundle_is_measured_at_a_stated_length(bundle, tmp_path, prompt, new):
    workload = Workload(prompt_tokens=prompt, new_tokens=new)
    report = edgekit.benchmark([bundle], seconds=0.05, workload=workload, sensors=False)
    measurement = report.candidates[0].measurement
    times = measurement.generation
    assert (times.prompt_tokens, times.tokens) == (prompt, new)
    assert measurement.shapes["input_ids"] == (1, times.prompt_tokens) and times.count >= generation.LEAST_COUNT
    assert times.read_mb == pytest.approx((bundle / "model" / "model.onnx").stat().st_size / 1e6)
    assert times.memory_gb_per_s is None, "the caches hold these weights"
    assert (times.tokens_per_s is None) == (new == 1)
    report.save(tmp_path / "report.json")
    assert Report.load(tmp_path / "report.json") == report
    for page in (text.render(report), markdown.render(report), html.render(report)):
        assert "first token" in page and (new == 1) == ("tokens/s" not in page and "tokens per s" not in page)


def test_the_calls_repeat_the_tokens_of_the_sample(bundle):
    opened = edgekit.open(bundle)
    trace = [(call.part, call.feeds) for call in opened.traces()[0]]
    stored = [int(number) for _, feeds in trace for number in feeds["input_ids"][0]]
    calls = opened.task().calls(trace, len(stored) + 3, 2)
    assert calls[0][1]["input_ids"][0].tolist() == [*stored, *stored[:3]]
    assert (
        calls[1][1]["input_ids"][0].tolist() == [stored[3]]
        and calls[1][1]["attention_mask"].shape[1] == len(stored) + 4
    )
    with opened.runner() as runner:
        first, second = runner.replay(calls)
    assert first["logits"].shape == second["logits"].shape == (1, 1, 512)


def test_lengths_that_cannot_be_measured(bundle):
    with raises(UsageError, ("--prompt-tokens", "0"), hint="128"):
        Workload(prompt_tokens=0)
    with raises(UsageError, ("500", "100", "512"), hint="--prompt-tokens"):
        edgekit.benchmark([bundle], workload=Workload(prompt_tokens=500, new_tokens=100), sensors=False)


def test_packed_weights_are_tried_where_no_recipe_is_named(bundle):
    project = Project(model=str(bundle.parent / "checkpoint"), data=str(bundle.parent / "texts.csv"), bench=False)
    usual = plan(project)
    tried = for_generation(usual)
    added = [candidate.name for candidate in tried.candidates if candidate not in usual.candidates]
    assert set(added) == {
        f"{backend}/{recipe}" for backend in ("onnxruntime", "openvino") for recipe in ("int8-weights", "int4-weights")
    }
    assert for_generation(tried) == tried
    asked = plan(replace(project, candidates=("onnxruntime/fp32",)))
    assert for_generation(asked) == asked


def test_messages_are_given_by_the_chat_template(bundle, assets):
    pytest.importorskip("jinja2")
    opened = edgekit.open(bundle)
    task, messages = opened.task(), chat.of_text("Once upon a time")
    ids = task.ids(Sample({chat.MESSAGES: messages}))
    assert ids[0] == 1 and ids.count(1) == 1, "the template writes the start token, and nothing adds another"
    assert task.text(ids).strip() == "user: Once upon a time"
    answer = opened.predict(messages, max_new_tokens=8)
    assert answer == opened.predict("Once upon a time", max_new_tokens=8, chat=True)
    assert answer != opened.predict("Once upon a time", max_new_tokens=8)
    assert "".join(opened.generate("Once upon a time", max_new_tokens=8, chat=True)) == answer["text"]


def test_keys_and_values_beyond_the_memory_are_refused_where_they_reach_it(bundle, monkeypatch):
    opened = edgekit.open(bundle)
    with opened.runner() as runner:
        of_one_token = runner.grown_bytes(1)
        assert runner.grown_bytes(100, 2) == 200 * of_one_token
        assert of_one_token == 2 * 5 * 4 * 8 * 4, "keys and values of five layers"
    here = host.probe()
    prompt = len(opened.task().ids(Sample({"text": "Once upon a time"}, None, ("text",))))
    monkeypatch.setattr(host, "probe", lambda: replace(here, memory_mb=of_one_token * (prompt + 2.5) / 1e6))
    pieces = []
    with raises(DeviceError, (str(prompt + 3), "MB"), hint="--max-new-tokens"):
        for piece in opened.generate("Once upon a time", max_new_tokens=50):
            pieces.append(piece)
    assert pieces, "what was generated before stays"
