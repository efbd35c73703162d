"""Question answering: the span is transformers' own, long contexts in windows, SQuAD's metrics."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import Sample, Samples
from edgekit.errors import UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks import TaskConfig, TextConfig, load, with_data
from edgekit.tasks.question import answers, exact, token_f1
from edgekit.tasks.span_config import SpanConfig
from tests.tasks.test_text import minilm, tokenizer  # noqa: F401
from tests.wording import raises

SPECS = tuple(TensorSpec(name, "i64", ("N", "L")) for name in ("input_ids", "attention_mask", "token_type_ids"))
QUESTION = "Where does the river begin?"
CONTEXT = "The river begins in the naïve hills, north of the old town. It ends in the sea."


def question_task(folder, **fields):
    text = TextConfig(inputs=("input_ids", "attention_mask", "token_type_ids"), max_length=fields.pop("most", None))
    return load(TaskConfig("question-answering", text=text, **fields), folder, SPECS)


def pair(context=CONTEXT):
    return Sample({"question": QUESTION, "context": context}, None, ("question", "context"))


@pytest.fixture(scope="module")
def module(tokenizer):  # noqa: F811
    import torch
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    config = BertConfig(vocab_size=30522, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=512)  # fmt: skip
    built = BertForQuestionAnswering(config).eval()
    torch.nn.init.normal_(built.qa_outputs.weight)
    return built


def outputs_of(module, task, sample):
    import torch

    with torch.inference_mode():
        calls = [
            module(**{name: torch.from_numpy(array) for name, array in feeds.items()}) for feeds in task.feeds(sample)
        ]
    return [{"start_logits": call.start_logits.numpy(), "end_logits": call.end_logits.numpy()} for call in calls]


@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")  # of transformers' own arrays
@pytest.mark.parametrize("context", [CONTEXT, "A short one.", CONTEXT * 3])
def test_the_answer_is_that_of_transformers(minilm, tokenizer, module, context):  # noqa: F811
    from transformers import pipeline

    task = question_task(minilm)
    theirs = pipeline("question-answering", model=module, tokenizer=tokenizer)(
        question=QUESTION, context=context, max_answer_len=30, align_to_words=False
    )
    ours = task.answer(outputs_of(module, task, pair(context)), pair(context))
    assert (ours["answer"], ours["start"], ours["end"]) == (theirs["answer"], theirs["start"], theirs["end"])
    assert 0 < ours["score"] <= 1
    assert task.predict(outputs_of(module, task, pair(context)), pair(context)).value == ours["answer"]


def test_a_long_context_is_read_in_windows_that_overlap(minilm):  # noqa: F811
    task = question_task(minilm, most=64, span=SpanConfig(stride=16))
    sample = pair(" ".join(f"word{number}" for number in range(60)) + " the answer here.")
    feeds = task.feeds(sample)
    assert len(feeds) > 2 and all(call["input_ids"].shape[1] <= 64 for call in feeds)
    place = sample.fields["context"].index("answer")
    outputs = []
    for window in task.prepare.windows(task.prepare.texts(sample)):
        start, end = np.zeros(len(window.ids)), np.zeros(len(window.ids))
        for number, (begin, stop) in enumerate(window.offsets):
            if window.sequence_ids[number] == 1 and begin <= place < stop:
                start[number] = end[number] = 9
        outputs.append({"start_logits": start[None], "end_logits": end[None]})
    answer = task.answer(outputs, sample)
    assert (answer["answer"], answer["start"]) == ("answer", place)


def test_an_answer_is_never_longer_than_allowed_nor_in_the_question(minilm):  # noqa: F811
    task = question_task(minilm, span=SpanConfig(longest=3))
    (window,) = task.prepare.windows(task.prepare.texts(pair()))
    draw = np.random.default_rng(0)
    for _ in range(50):
        start, end = draw.normal(size=(2, len(window.ids)))
        inside = [number for number, text in enumerate(window.sequence_ids) if text == 1]
        best = max(
            ((start[a] + end[b], a, b) for a in inside for b in inside if a <= b < a + 3), key=lambda item: item[0]
        )
        answer = task.answer([{"start_logits": start[None], "end_logits": end[None]}], pair())
        assert (answer["start"], answer["end"]) == (window.offsets[best[1]][0], window.offsets[best[2]][1])
        total = sum(np.exp(start[a] + end[b]) for a in inside for b in inside if a <= b < a + 3)
        assert answer["score"] == pytest.approx(np.exp(best[0]) / total)


def test_no_answer_is_given_only_where_the_data_has_such_questions(minilm):  # noqa: F811
    config = TaskConfig("question-answering", text=TextConfig())
    rows = [dict(pair().fields)] * 2
    always = with_data(config, minilm, SPECS, Samples.from_feeds(rows, [["hills"], ["sea"]]))
    sometimes = with_data(
        config, minilm, SPECS, Samples.from_feeds(rows, [["hills"], {"text": [], "answer_start": []}])
    )
    assert always.span is None and sometimes.span == SpanConfig(may_be_empty=True)
    (window,) = load(config, minilm, SPECS).prepare.windows((QUESTION, CONTEXT))
    logits = np.zeros((1, len(window.ids)))
    logits[0, 0] = 5
    outputs = [{"start_logits": logits, "end_logits": logits}]
    assert load(always, minilm, SPECS).predict(outputs, pair()).value != ""
    assert load(sometimes, minilm, SPECS).predict(outputs, pair()).value == ""


def test_metrics_are_those_of_squad():
    assert exact("The  Hills!", "hills") == 1 and exact("hills", "hill") == 0
    assert token_f1("the old town", "in the old town hall") == pytest.approx(2 * 2 / (2 + 4))
    assert token_f1("", "") == 1 and token_f1("", "a town") == 0
    assert answers({"text": ["a"], "answer_start": [3]}) == ("a",) and answers([{"text": "a"}]) == ("a",)
    assert answers([]) == () and answers("a") == ("a",)
    with raises(UsageError, "3", hint="SQuAD"):
        answers(3)


def test_what_does_not_fit_is_refused(minilm):  # noqa: F811
    task = question_task(minilm, most=12)
    with raises(UsageError, ("question", "12"), hint="shorter"):
        task.feeds(Sample({"question": "why " * 20, "context": CONTEXT}, None, ("question", "context")))
    alone = Sample({"text": "one text"}, None, ("text",))
    with raises(UsageError, "context", hint="--text-column"):
        question_task(minilm).feeds(alone)
    with raises(UsageError, "'start_logits'", hint="--task"):
        question_task(minilm).answer([{"logits": np.zeros((1, 3))}], pair())
    with raises(UsageError, "'spearman'", hint="exact-match"):
        question_task(minilm, metric="spearman")
