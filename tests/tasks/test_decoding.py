"""Greedy and beam search give the ids of transformers' `generate`."""

from __future__ import annotations

import random

import numpy as np
import pytest

from edgekit.tasks.config import Generation
from edgekit.tasks.decoding import _top, greedy, search
from edgekit.tasks.restrictions import allowed

START, STOP, VOCABULARY = 59, 0, 60

SETTINGS = [
    {},
    {"num_beams": 4, "max_length": 20},
    {"num_beams": 2, "length_penalty": 2.0, "early_stopping": "never", "max_length": 12},
    {"num_beams": 5, "length_penalty": -0.5, "early_stopping": True, "no_repeat_ngram_size": 2, "max_length": 15},
    {"num_beams": 3, "length_penalty": 0.0, "forced_eos_token_id": STOP, "max_length": 7},
    {"repetition_penalty": 1.3, "no_repeat_ngram_size": 3, "max_length": 25},
    {"bad_words_ids": [[59], [7], [8, 9], [3, 4, 5]], "suppress_tokens": [11, 12], "max_length": 20},
    {"forced_bos_token_id": 5, "begin_suppress_tokens": [13], "min_length": 6, "num_beams": 2, "max_length": 16},
]


@pytest.fixture(scope="module")
def marian():
    """Return a network of random weights, large enough that scores are far from each other."""
    torch = pytest.importorskip("torch")
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(3)
    sizes = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
    heads = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "max_position_embeddings": 64}
    ids = {"pad_token_id": START, "decoder_start_token_id": START, "eos_token_id": STOP, "forced_eos_token_id": None}
    module = MarianMTModel(MarianConfig(vocab_size=VOCABULARY, **sizes, **heads, **ids)).eval()
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.35
    return module


def decoded(module, source, settings):
    """Run a search on the torch module."""
    import torch

    with torch.no_grad():
        encoded = module.get_encoder()(input_ids=source)
        steps, cache = search(settings), None
        feed = next(steps)
        try:
            while True:
                rows = len(feed.tokens)
                if feed.order is not None:
                    cache.reorder_cache(torch.tensor(feed.order))
                    encoded.last_hidden_state = encoded.last_hidden_state[:1].repeat_interleave(rows, 0)
                outputs = module(
                    encoder_outputs=encoded,
                    decoder_input_ids=torch.tensor(feed.tokens),
                    attention_mask=torch.ones(rows, source.shape[1], dtype=torch.long),
                    past_key_values=cache,
                    use_cache=True,
                )
                cache = outputs.past_key_values
                feed = steps.send(outputs.logits[:, -1].numpy())
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("options", SETTINGS)
def test_the_ids_are_those_of_generate(marian, options):
    import torch

    draw = random.Random(1)
    options = {"max_length": 20, "bad_words_ids": None, **options}
    settings = Generation(
        start=START,
        stops=(STOP,),
        max_length=options["max_length"],
        min_length=options.get("min_length", 0),
        beams=options.get("num_beams", 1),
        length_penalty=options.get("length_penalty", 1.0),
        early_stopping={True: "yes", False: "no"}.get(options.get("early_stopping", False), "never"),
        repetition_penalty=options.get("repetition_penalty", 1.0),
        no_repeat_ngram=options.get("no_repeat_ngram_size", 0),
        bad_words=tuple(tuple(word) for word in options["bad_words_ids"] or ()),
        forced_first=options.get("forced_bos_token_id"),
        forced_last=(STOP,) if options.get("forced_eos_token_id") is not None else (),
        suppressed=tuple(options.get("suppress_tokens", ())),
        suppressed_first=tuple(options.get("begin_suppress_tokens", ())),
    )
    for _ in range(3):
        source = torch.tensor([[draw.randrange(2, 58) for _ in range(draw.randrange(1, 9))] + [STOP]])
        expected = marian.generate(source, do_sample=False, **options)[0].tolist()
        assert [START, *decoded(marian, source, settings)] == expected


def test_a_repeated_group_is_not_completed():
    scores = allowed(Generation(0, no_repeat_ngram=2), [0, 4, 5, 4], np.zeros(8, np.float32))
    assert np.flatnonzero(np.isinf(scores)).tolist() == [5]


def test_the_greatest_length_ends_a_text_without_a_stop():
    steps = greedy(Generation(0, stops=(1,), max_length=4))
    feed = next(steps)
    with pytest.raises(StopIteration) as stop:
        while True:
            assert feed.order is None
            feed = steps.send(np.array([[0, 0, 0, 9.0]], np.float32))
    assert stop.value.value == [3, 3, 3]


@pytest.mark.parametrize("size", [5, 700, 20011])
def test_the_best_of_many_scores_are_those_of_a_whole_sort(size):
    scores = np.random.default_rng(size).integers(0, size, size).astype(np.float32)
    scores[size // 3] = -np.inf
    for count in (1, 4, 9):
        assert scores[_top(scores, count)].tolist() == sorted(scores.tolist(), reverse=True)[:count]
        assert len(set(_top(scores, count))) == min(count, size)
