"""A user's own model of several graphs: described in code, exported, judged, run on a device without that code."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx.parser
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Reference
from edgekit.passes.export.export import Export
from edgekit.pipeline.source import source_for
from edgekit.sources.onnx_file import OnnxFile
from edgekit.sources.torch_module import InMemoryModule

torch = pytest.importorskip("torch")

ROOT = Path(__file__).parent.parent.parent

NETWORKS = """
import edgekit
import torch


class Encoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(6)
        self.table = torch.nn.Embedding(4, 8)
        self.cells = torch.nn.GRU(8, 8, batch_first=True)
        for parameter in self.parameters():
            parameter.data *= 3

    def forward(self, ids):
        return {"last": self.cells(self.table(ids))[1][0]}


class Decoder(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Embedding(5, 8)
        self.cell = torch.nn.GRUCell(8, 8)
        self.head = torch.nn.Linear(8, 5)
        for parameter in self.parameters():
            parameter.data *= 3

    def forward(self, token, before):
        after = self.cell(self.table(token), before)
        return {"scores": self.head(after), "after": after}
"""
WORDS = ["abc", "cab", "bb", "acaba", "cc", "b", "aab", "bca"] * 2


@pytest.fixture(scope="module")
def speller(tmp_path_factory):
    """Write the README's example, with the networks that it names, and words with what the modules make of them."""
    block = re.search(r"test_graphs.py runs this. -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block
    folder = tmp_path_factory.mktemp("speller")
    (folder / "spelling.py").write_text(NETWORKS + block[1])
    patch = pytest.MonkeyPatch()
    patch.chdir(folder)
    patch.syspath_prepend(str(folder))
    import spelling

    graphs = spelling.speller()
    with (folder / "words.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("word", "spelled"))
        rows.writerows((word, spelled(graphs, word) if word != "bb" else "ABC") for word in WORDS)
    result = edgekit.export(
        "spelling:speller",
        data="words.csv",
        text_columns=("word",),
        label_column="spelled",
        candidates=["onnxruntime/fp32", "openvino/fp32", "onnxruntime/int8-dynamic"],
        bench_seconds=0.05,
        max_drop="90%",
        output="out",
    )
    yield graphs, result, folder
    patch.undo()


def spelled(graphs, word):
    """Return what the modules answer, by a loop that is not edgekit's."""
    encoder, decoder = (graph.module.eval() for graph in graphs.graphs)
    with torch.no_grad():
        state = encoder(torch.tensor([["?abc".index(letter) for letter in word]]))["last"]
        token, letters = 0, []
        while len(letters) < 11:
            outputs = decoder(torch.tensor([token]), state)
            token, state = int(outputs["scores"].argmax()), outputs["after"]
            if token == 1:
                break
            letters.append(token)
    return "".join("SEABC"[each] for each in letters if each > 1)


def test_both_runtimes_spell_as_the_modules_do(speller):
    _, result, _ = speller
    status = {candidate.name: candidate for candidate in result.report.candidates}
    for name in ("onnxruntime/fp32", "openvino/fp32"):
        quality = status[name].quality
        assert quality.agreement == 1.0 and quality.rel_l2 < 1e-5, name
        assert quality.metric == "exact-match" and 0.5 < quality.score == quality.original_score < 1.0


def test_a_graph_without_products_stays_in_float_beside_others(speller):
    _, result, _ = speller
    (int8,) = (each for each in result.report.candidates if each.name.endswith("int8-dynamic"))
    assert int8.quality is not None and int8.size_mb
    assert any("'encoder' stays as it was exported: there is nothing to quantize" in note for note in int8.notes)


def test_the_device_needs_no_code_of_the_user(speller, tmp_path):
    graphs, result, folder = speller
    run = subprocess.run(
        [sys.executable, "-m", "edgekit.cli", "run", str(folder / "out"), "cab", "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert json.loads(run.stdout)["answer"]["text"] == spelled(graphs, "cab"), run.stderr
    assert edgekit.verify(result.bundle.path).ok


class Cell(torch.nn.Module):
    def forward(self, x, kept):
        new = kept * 0.5 + x
        return {"y": new.sum(dim=1, keepdim=True), "new": new}


def smoother(**starts):
    return edgekit.Graphs(
        edgekit.Graph("cell", Cell(), ("x:f32[batch,3]", "kept:f32[batch,3]"), {"kept": "s"}, {"new": "s"}),
        starts=starts,
    )


@pytest.fixture(scope="module")
def smoothing(tmp_path_factory):
    """Write the same graph as an ONNX file, and samples of five steps each."""
    folder = tmp_path_factory.mktemp("smoothing")
    graph = onnx.parser.parse_model(
        """<ir_version: 9, opset_import: ["" : 18]>
        cell (float[batch,3] x, float[batch,3] kept) => (float[batch,1] y, float[batch,3] new)
        <float half = {0.5}, int64[1] axis = {1}>
        { faded = Mul(kept, half) new = Add(faded, x) y = ReduceSum(new, axis) }"""
    )
    onnx.save(graph, folder / "cell.onnx")
    steps = np.random.default_rng(0).standard_normal((6, 5, 3)).astype(np.float32)
    np.savez(folder / "data.npz", x=steps)
    np.savez(folder / "one.npz", x=steps[0])
    return folder, steps[0]


@pytest.mark.parametrize("kind", ["modules", "file"])
def test_a_recurrent_graph_is_called_for_each_step(kind, smoothing, tmp_path):
    folder, steps = smoothing
    named = {"states": ("kept=new",)} if kind == "file" else {}
    result = edgekit.export(
        folder / "cell.onnx" if kind == "file" else smoother(s="zeros"),
        data=folder / "data.npz",
        candidates=["onnxruntime/fp32", "openvino/fp32"],
        bench=False,
        output=tmp_path / "out",
        **named,
    )
    assert all(each.quality.rel_l2 < 1e-6 for each in result.report.candidates)
    assert edgekit.verify(tmp_path / "out").ok
    run = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), str(folder / "one.npz"), "--json"])
    kept, sums = np.zeros(3), []
    for row in steps:
        kept = kept * 0.5 + row
        sums.append(kept.sum())
    summary = json.loads(run.output)["answer"]["outputs"]["y"]
    assert summary["shape"] == [5, 1, 1] and np.allclose(summary["first"], sums, rtol=1e-5)


@pytest.mark.parametrize(
    ("states", "message"),
    [
        (("kept",), "cannot read the state 'kept'"),
        (("kept=newer",), "names the output 'newer', which the graph does not have. Did you mean 'new'?"),
        (("keep=new",), "names the input 'keep'"),
        (("kept=y",), "cannot take what the output 'y:f32[batch,1]' leaves"),
        (("kept=new", "kept=y"), "two states are named with 'kept'"),
        (("kept=new", "x=y"), "cannot take"),
    ],
)
def test_a_state_that_the_file_does_not_have_is_refused(states, message, smoothing, tmp_path):
    with pytest.raises(UsageError, match=re.escape(message)) as fault:
        OnnxFile().load(Reference(str(smoothing[0] / "cell.onnx"), states=states), tmp_path)
    assert fault.value.hint


def test_states_are_named_for_an_onnx_file_alone():
    with pytest.raises(UsageError, match="names the states of an ONNX file, and 'package:factory' is not"):
        source_for(Reference("package:factory", states=("a=b",)))


X, KEPT = "x:f32[batch,3]", "kept:f32[batch,3]"


@pytest.mark.parametrize(
    ("describe", "message"),
    [
        (lambda: edgekit.Graphs(), "has no graphs"),
        (lambda: edgekit.Graph("a b", Cell(), X), "not the name of a graph"),
        (lambda: edgekit.Graphs(edgekit.Graph("a", Cell(), X), edgekit.Graph("a", Cell(), X)), "have the name 'a'"),
        (lambda: edgekit.Graphs(edgekit.Graph("a", Cell(), X, {"kept": "s"})), "'s', which no graph writes"),
        (lambda: edgekit.Graphs(edgekit.Graph("a", Cell(), X, {}, {"new": "s"})), "'s', which no graph reads"),
        (smoother, "reads the state 's' before any graph wrote it"),
        (lambda: smoother(t="zeros", s="zeros"), "starts has 't: zeros'"),
        (lambda: edgekit.Loop(start=9, stops=1, target="ab"), "start and stops are ids below"),
        (lambda: edgekit.Loop(start=0, stops=1, source="aba"), "'a' occurs twice"),
        (lambda: edgekit.Loop(start=0, stops=1, source="ab", end="</s>"), "not one of its source symbols"),
    ],
)
def test_a_wrong_description_is_refused(describe, message):
    with pytest.raises(UsageError, match=re.escape(message)) as fault:
        describe()
    assert fault.value.hint


@pytest.mark.parametrize(
    ("graphs", "message"),
    [
        (lambda: [edgekit.Graph("a", 3, X)], "not an nn.Module"),
        (lambda: [edgekit.Graph("a", Cell(), (X, KEPT), {"hidden": "s"}, {"new": "s"})], "not one of its inputs"),
        (lambda: [edgekit.Graph("a", Cell(), (X, KEPT), {"kept": "s"}, {"old": "s"})], "not one of its outputs"),
        (lambda: [edgekit.Graph("a", Cell(), (X, KEPT), {"kept": "s"}, {"y": "s"})], "reads as s:f32[batch,3]"),
    ],
)
def test_a_description_that_the_modules_do_not_have_is_refused(graphs, message, tmp_path):
    described = edgekit.Graphs(*graphs(), starts={"s": "zeros"} if graphs()[0].reads else {})
    with pytest.raises(UsageError, match=re.escape(message)) as fault:
        InMemoryModule(described).load(Reference("live"), tmp_path)
    assert fault.value.hint


def test_sizes_of_several_graphs_stay_free(tmp_path):
    (tmp_path / "loaded").mkdir()
    (tmp_path / "exported").mkdir()
    model = InMemoryModule(smoother(s="zeros")).load(Reference("live"), tmp_path / "loaded")
    with pytest.raises(UnsupportedError, match="length"):
        Export(shapes={"length": 8}).apply(model, None, tmp_path / "exported")
