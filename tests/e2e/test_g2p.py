"""From graphemes to phonemes: a real GRU encoder and decoder, as a user's own module of two graphs."""

from __future__ import annotations

import csv
import json
import random
import re

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli

torch = pytest.importorskip("torch")

LETTERS = ("<pad>", "<unk>", "</s>", *"abcdefghijklmnopqrstuvwxyz")
VOWELS = "AA AE AH AO AW AY EH ER EY IH IY OW OY UH UW"
CONSONANTS = "B CH D DH F G HH JH K L M N NG P R S SH T TH UW V W Y Z ZH"
SOUNDS = (
    "<pad>",
    "<unk>",
    "<s>",
    "</s>",
    *sorted([*CONSONANTS.split(), *(vowel + stress for vowel in VOWELS.split() for stress in "012")]),
)


class Encoder(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(weights["enc_emb"])
        self.cells = torch.nn.GRU(256, 256, batch_first=True)
        self.cells.load_state_dict({f"{name}_l0": value for name, value in gates(weights, "enc").items()})

    def forward(self, ids):
        return {"last": self.cells(self.table(ids))[1][0]}


class Decoder(torch.nn.Module):
    def __init__(self, weights):
        super().__init__()
        self.table = torch.nn.Embedding.from_pretrained(weights["dec_emb"])
        self.cell = torch.nn.GRUCell(256, 256)
        self.cell.load_state_dict(gates(weights, "dec"))
        self.head = torch.nn.Linear(256, len(SOUNDS))
        self.head.load_state_dict({"weight": weights["fc_w"], "bias": weights["fc_b"]})

    def forward(self, token, before):
        after = self.cell(self.table(token), before)
        return {"scores": self.head(after), "after": after}


def gates(weights, prefix):
    names = {"weight_ih": "w_ih", "weight_hh": "w_hh", "bias_ih": "b_ih", "bias_hh": "b_hh"}
    return {name: weights[f"{prefix}_{key}"] for name, key in names.items()}


def speaker(folder):
    weights = {name: torch.from_numpy(array) for name, array in np.load(folder / "checkpoint20.npz").items()}
    return edgekit.Graphs(
        edgekit.Graph("encoder", Encoder(weights), "ids:i64[batch,length]", writes={"last": "hidden"}),
        edgekit.Graph(
            "decoder",
            Decoder(weights),
            ("token:i64[batch]", "before:f32[batch,256]"),
            reads={"before": "hidden"},
            writes={"after": "hidden"},
        ),
        loop=edgekit.Loop(
            start=2, stops=(3,), max_length=21, source=LETTERS, target=SOUNDS, end="</s>", lowercase=True
        ),
    )


def words(folder, path, count):
    """Write words of the dictionary with their first pronunciation."""
    sounds = {}
    for line in (folder / "cmudict.dict").read_text().splitlines():
        word, *rest = line.partition("#")[0].split()
        if re.fullmatch("[a-z]+", word):
            sounds.setdefault(word, " ".join(rest))
    with path.open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("word", "sounds"))
        rows.writerows((word, sounds[word]) for word in random.Random(0).sample(sorted(sounds), count))


@pytest.mark.nightly
def test_words_are_spoken_as_by_the_original(assets, tmp_path):
    folder = assets / "g2p-seq2seq"
    words(folder, tmp_path / "words.csv", 1000)
    result = edgekit.export(
        speaker(folder),
        data=tmp_path / "words.csv",
        text_columns=("word",),
        label_column="sounds",
        candidates=["onnxruntime/fp32", "openvino/fp32", "onnxruntime/int8-dynamic"],
        bench=False,
        output=tmp_path / "out",
    )
    for candidate in result.report.candidates:
        quality = candidate.quality
        assert quality.metric == "exact-match" and 0.66 < quality.original_score < 0.73
        if candidate.recipe == "fp32":
            assert quality.score == quality.original_score and quality.agreement == 1.0
        else:
            assert quality.agreement > 0.99
    run = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), "Hello", "--json"])
    assert json.loads(run.output)["answer"]["text"] == "HH EH1 L OW0"
