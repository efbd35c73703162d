"""A model of two parts with states, through the real runtimes: built, judged, measured, written and verified."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit import catalog
from edgekit.bench import Workload
from edgekit.bundle import finish
from edgekit.cli import cli
from edgekit.data import Samples
from edgekit.errors import UnsupportedError, UsageError
from edgekit.evaluation.dataset import Evaluation
from edgekit.evaluation.reference_outputs import ReferenceOutputs, record
from edgekit.frameworks import onnx_model
from edgekit.model import Model, State
from edgekit.pipeline import candidates, part_feeds, pass_defaults
from edgekit.pipeline.builder import Builder
from edgekit.pipeline.export import Export
from edgekit.pipeline.plan import PlannedCandidate
from edgekit.pipeline.run import ship
from edgekit.progress import Silent
from edgekit.recipe import toml_file
from edgekit.report import html, markdown, text
from edgekit.result.data_sources import DataSources
from edgekit.spec import TensorSpec
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.tensor import Raw, Tensors
from edgekit.testing import install, installed
from tests.bundles import change_manifest

RANDOM = np.random.default_rng(5)
ENCODE = RANDOM.standard_normal((3, 32)).astype(np.float32)
DECODE = RANDOM.standard_normal((32, 8)).astype(np.float32)

HIDDEN = TensorSpec("hidden", "f32", ("batch", "length", 32))
PAST = TensorSpec("past.0", "f32", ("batch", "decoded", 32))
STATES = (State("hidden", HIDDEN), State("past.0", PAST, "empty"))


def graph(name, nodes, inputs, outputs, weights):
    def value(spec):
        return helper.make_tensor_value_info(spec.name, TensorProto.FLOAT, spec.shape)

    constants = [numpy_helper.from_array(array, key) for key, array in weights.items()]
    made = helper.make_graph(
        nodes, name, [value(spec) for spec in inputs], [value(spec) for spec in outputs], constants
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Write an encoder and a decoder that keeps what it was fed."""
    folder = tmp_path_factory.mktemp("parts")
    x = TensorSpec("x", "f32", ("batch", "length", 3))
    token = TensorSpec("token", "f32", ("batch", 1, 32))
    encoder = graph(
        "encoder",
        [helper.make_node("MatMul", ["x", "w"], ["m"]), helper.make_node("Tanh", ["m"], ["hidden"])],
        [x],
        [HIDDEN],
        {"w": ENCODE},
    )
    decoder = graph(
        "decoder",
        [
            helper.make_node("Concat", ["past", "token"], ["present"], axis=1),
            helper.make_node("ReduceMean", ["encoded", "axes"], ["context"], keepdims=1),
            helper.make_node("ReduceSum", ["present", "axes"], ["kept"], keepdims=1),
            helper.make_node("Add", ["context", "kept"], ["sum"]),
            helper.make_node("MatMul", ["sum", "w"], ["y"]),
        ],
        [token, replace(HIDDEN, name="encoded"), replace(PAST, name="past")],
        [TensorSpec("y", "f32", ("batch", 1, 8)), TensorSpec("present", "f32", ("batch", "longer", 32))],
        {"w": DECODE, "axes": np.array([1], np.int64)},
    )
    parts = []
    for name, proto in (("encoder", encoder), ("decoder", decoder)):
        (folder / name).mkdir()
        onnx.checker.check_model(proto)
        onnx.save(proto, folder / name / "model.onnx")
        parts.append(onnx_model.part_of(proto, name=name, file=f"{name}/model.onnx"))
    parts[0] = replace(parts[0], writes={"hidden": "hidden"})
    parts[1] = replace(parts[1], reads={"encoded": "hidden", "past": "past.0"}, writes={"present": "past.0"})
    return Model("onnx", tuple(parts), STATES, task="tensor", folder=folder)


class Original:
    """The same arithmetic in numpy, with states of its own."""

    framework = "numpy"

    def start(self):
        self.hidden, self.fed = None, []

    def run(self, feeds):
        return self.run_part("encoder", feeds)

    def run_part(self, part, feeds):
        if part == "encoder":
            self.hidden = np.tanh(feeds["x"] @ ENCODE)
            return {}
        self.fed.append(feeds["token"])
        kept = np.concatenate(self.fed, axis=1).sum(axis=1, keepdims=True)
        return {"y": (self.hidden.mean(axis=1, keepdims=True) + kept) @ DECODE}


class Steps(Raw):
    """Encode a sample, then decode three times: a call depends on the outputs of the one before it."""

    def steps(self, sample):
        yield "encoder", self.feeds(sample)[0]
        token = np.zeros((1, 1, 32), np.float32)
        for _ in range(3):
            outputs = yield "decoder", {"token": token}
            token = np.tanh(np.tile(outputs["y"], 4))


@pytest.fixture
def export(model, tmp_path):
    feeds = [{"x": RANDOM.standard_normal((1, size, 3)).astype(np.float32)} for size in (2, 5, 4)]
    samples = Samples.from_feeds(feeds, source="made up")
    task = Steps(TaskConfig("tensor"), Tensors(model.inputs))
    work = tmp_path / "reference"
    work.mkdir()
    record(Original(), task, samples, work, Silent())
    evaluation = Evaluation(task, samples, None, DataSources("made up", 3, samples.digest))
    plan = edgekit.plan(
        str(model.folder / "encoder/model.onnx"),
        candidates=["onnxruntime/fp32", "openvino/fp32", "onnxruntime/int8-dynamic"],
        bench_seconds=0.05,
        min_agreement=0.9,
    )
    with Builder(plan, Silent()) as builder:
        yield Export(plan, builder, model, evaluation, ReferenceOutputs(work, task, samples))


def test_parts_with_states_go_the_whole_way(export, tmp_path):
    bundle = ship(export, tmp_path / "out")
    report = bundle.report()
    status = {candidate.name: candidate for candidate in report.candidates}
    for name in ("onnxruntime/fp32", "openvino/fp32"):
        assert status[name].quality.ok, status[name]
        assert status[name].quality.rel_l2 < 1e-5
        assert status[name].measurement.count > 0
    assert status["onnxruntime/int8-dynamic"].quality is not None
    shipped = bundle.manifest
    assert [part.part.name for part in shipped.parts] == ["encoder", "decoder"] and shipped.states == STATES
    opened = edgekit.open(tmp_path / "out")
    traces = opened.traces()
    assert [[call.part for call in trace] for trace in traces] == [["encoder", "decoder", "decoder", "decoder"]] * 3
    assert all(set(call.feeds) == {"token"} and set(call.outputs) == {"y"} for call in traces[0][1:])
    with opened.runner() as runner:
        outputs = runner.replay([(call.part, call.feeds) for call in traces[1]])
    for call, computed in zip(traces[1], outputs, strict=True):
        assert set(call.outputs) == set(computed)
        for name in computed:
            np.testing.assert_allclose(computed[name], call.outputs[name], atol=1e-2, rtol=1e-2)
    assert edgekit.verify(tmp_path / "out").ok
    timed = edgekit.benchmark([tmp_path / "out"], seconds=0.05, sensors=False, profile=True)
    (candidate,) = timed.candidates
    assert candidate.measurement.count > 0
    assert [(each.part, each.calls) for each in candidate.measurement.parts] == [("encoder", 1), ("decoder", 3)]
    assert all(each.time_ms > 0 for each in candidate.measurement.parts)
    assert {layer.name.partition(": ")[0] for layer in candidate.layers} == {"encoder", "decoder"}
    assert set(candidate.part_sizes_mb) == {"encoder", "decoder"}
    for words in (text.render(timed), markdown.render(timed), html.render(timed)):
        assert "decoder 0.00" in words and "3 calls in" in words
    path = str(tmp_path / "out")
    compared = CliRunner().invoke(cli, ["compare", path, f"{path}/report.json", "--json"])
    assert compared.exit_code == 0, compared.output


def test_what_works_on_one_graph_says_so(export, tmp_path):
    ship(export, tmp_path / "out")
    for workload, option in ((Workload("offline", batch=4), "--batch"), (Workload("offline", streams=2), "--streams")):
        with pytest.raises(UnsupportedError) as caught:
            edgekit.benchmark([tmp_path / "out"], seconds=0.05, workload=workload, sensors=False)
        assert option in caught.value.hint
    with pytest.raises(UsageError, match="before any part wrote it"), edgekit.open(tmp_path / "out").runner() as runner:
        runner.run("decoder", {"token": np.zeros((1, 1, 32), np.float32)})
    shown = CliRunner().invoke(cli, ["inspect", str(tmp_path / "out"), "--json"])
    assert shown.exit_code == 0 and "decoder" in json.dumps(json.loads(shown.output))
    np.savez(tmp_path / "x.npz", x=np.zeros((1, 2, 3), np.float32))
    arrays = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), str(tmp_path / "x.npz")])
    assert arrays.exit_code == 2 and "several graphs" in arrays.output


@pytest.mark.parametrize(
    ("name", "limit"),
    [
        ("onnxruntime/int8-static", 0.1),
        ("openvino/int8-static", 0.1),
        ("openvino/int8-nncf", 0.6),  # it takes the mean of the calls' greatest values, which clips the later calls'
    ],
)
def test_each_part_is_calibrated_on_its_own_calls(export, name, limit):
    backend, _, recipe = name.partition("/")
    planned = PlannedCandidate(backend, pass_defaults.resolve(catalog.recipe(recipe), export.plan.target, backend))
    evaluation = replace(export.evaluation, calibration=export.evaluation.samples)
    feeds = part_feeds.of_parts(replace(export, evaluation=evaluation), planned)
    assert [set(each) for each in feeds["encoder"]] == [{"x"}] * 3
    assert [set(each) for each in feeds["decoder"]] == [{"token", "encoded", "past"}] * 9
    assert {each["past"].shape[1] for each in feeds["decoder"]} == {0, 1, 2}, "the states grow from call to call"
    (candidate,) = candidates.attempt(replace(export, evaluation=evaluation), planned, mend=False)
    assert candidate.compiled.model.precision == "i8"
    assert 1e-6 < candidate.quality.rel_l2 < limit


def test_a_lost_part_is_named(export, tmp_path):
    bundle = ship(export, tmp_path / "out")
    Path(bundle.path / "model/decoder").joinpath(Path(bundle.manifest.parts[1].payload[0]).name).unlink()
    with pytest.raises(edgekit.errors.ArtifactError, match="model/decoder"):
        edgekit.open(tmp_path / "out")


PREPARED = """
from dataclasses import replace
from pathlib import Path
import shutil

from edgekit.plugin import Built
from edgekit_onnxruntime import OnnxRuntime


class Prepared(OnnxRuntime):
    name = "prepared"
    summary = "ONNX Runtime, compiled on the device, for tests"

    def build(self, model, target, options, workdir):
        return replace(super().build(model, target, options, workdir), evidence="parsed", portable=True)

    def finish(self, payload, target, workdir):
        names = tuple(f"compiled-{Path(name).name}" for name in payload.files)
        for name, file in zip(names, payload.files, strict=True):
            shutil.copyfile(payload.folder / file, workdir / name)
        return Built(names, options=payload.options, evidence="built_on_device", notes=(f"{payload.part.name} built",))
"""


def test_each_part_is_finished_on_the_device(export, tmp_path):
    points = {"edgekit.backends": {"prepared": "prepared_backend:Prepared"}}
    site = install(tmp_path / "site", "edgekit-prepared", points, {"prepared_backend.py": PREPARED})
    with installed(site):
        planned = PlannedCandidate("prepared", catalog.recipe("fp32"))
        ship(replace(export, plan=replace(export.plan, candidates=(planned,))), tmp_path / "out")
        with pytest.raises(edgekit.errors.ArtifactError, match="is portable"):
            edgekit.open(tmp_path / "out").runner()
        for _ in range(2):  # the second time from what the first one kept
            report = finish.finish(tmp_path / "out")
            assert report.ok
            bundle = edgekit.open(tmp_path / "out")
            assert [part.payload for part in bundle.manifest.parts] == [
                (f"model/{name}/compiled-model.onnx",) for name in ("encoder", "decoder")
            ]
            assert bundle.manifest.lineage[-1].notes == ("encoder built", "decoder built")
            assert set(bundle.report().subject.part_sizes_mb) == {"encoder", "decoder"}
        assert edgekit.verify(tmp_path / "out").ok


def test_a_part_stays_in_float_where_all_in_int8_miss_the_gate(export):
    whole = PlannedCandidate("onnxruntime", catalog.recipe("int8-dynamic"))

    def planned(*names):
        return replace(whole, recipe=replace(whole.recipe, parts_in_float=names))

    def judged(*names):
        (candidate,) = candidates.attempt(export, planned(*names), mend=False)
        return candidate

    everything, encoder = judged(), judged("encoder")
    assert encoder.effective.parts == {"encoder": "f32", "decoder": "i8"}
    limit = (everything.quality.cosine + encoder.quality.cosine) / 2
    plan = replace(export.plan, project=replace(export.plan.project, min_agreement=limit))
    missed, repaired = candidates.attempt(replace(export, plan=plan), whole)
    assert not missed.quality.ok and repaired.quality.ok
    assert repaired.name == "onnxruntime/int8-dynamic-repaired"
    assert repaired.compiled.left == ("the part 'encoder' stays as it was exported: the recipe leaves it in float",)
    assert 'parts_in_float = ["encoder"]' in toml_file.to_toml(repaired.planned.recipe)
    with pytest.raises(UsageError, match="has no part 'encode'"):
        judged("encode")


APART = (
    (lambda manifest: manifest["parts"][0]["part"]["writes"].clear(), "reads the state 'hidden', which no part writes"),
    (lambda manifest: manifest["parts"].append(manifest["parts"][0]), "the same name: encoder, decoder, encoder"),
    (lambda manifest: manifest["parts"].pop(0), "reads the state 'hidden', which no part writes"),
    (lambda manifest: manifest["states"].clear(), "names the state 'hidden', which the model does not have"),
)


def test_a_bundle_whose_parts_do_not_belong_together_is_refused(export, tmp_path):
    plan = replace(export.plan, candidates=export.plan.candidates[:1])
    plan = replace(plan, project=replace(plan.project, bench=False))
    ship(replace(export, plan=plan), tmp_path / "out")
    for change, fact in APART:
        copy = shutil.copytree(tmp_path / "out", tmp_path / "copy", dirs_exist_ok=True)
        change_manifest(copy, change)
        with pytest.raises(edgekit.errors.ArtifactError, match=fact) as fault:
            edgekit.open(copy)
        assert fault.value.hint
