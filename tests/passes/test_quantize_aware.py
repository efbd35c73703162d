"""Quantization-aware fine-tuning: layers round as int8 does while they train, and their weights round well after."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit import api, catalog
from edgekit.data import Samples, TrainingData
from edgekit.errors import AccuracyFailure, UnsupportedError, UsageError
from edgekit.model import Reference
from edgekit.pipeline import pass_defaults
from edgekit.plugin import Trainable, Training
from edgekit.progress import Silent
from edgekit.target import target
from tests.wording import mentions, raises

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("optimum.onnxruntime")

from edgekit import tasks  # noqa: E402
from edgekit.frameworks import torch_pass  # noqa: E402
from edgekit.passes.train import fake_quantization as fake  # noqa: E402  # they need torch
from edgekit.passes.train.quantize_aware import QuantizeAware  # noqa: E402
from edgekit.passes.train.recovery import Recovery  # noqa: E402
from edgekit.sources.torch_module import load_module  # noqa: E402
from edgekit.spec import TensorSpec  # noqa: E402
from edgekit.tasks.config import ImageConfig, TaskConfig  # noqa: E402

bars = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "bars.py")))

U8 = fake.Int8Scheme(signed=False, symmetric=False, reduce_range=False)


def layer(scheme: fake.Int8Scheme = U8):
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 3))
    assert fake.attach(net, scheme) == 2
    return net


def test_layers_are_attached_and_detached_without_a_trace() -> None:
    torch.manual_seed(0)
    parts = (torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(4, 2), torch.nn.LayerNorm(2))
    plain = torch.nn.Sequential(*parts).eval()
    before = torch_pass.digest_of(plain)
    net = copy.deepcopy(plain)
    fake.attach(net, U8)
    assert torch_pass.digest_of(net) != before
    x = torch.randn(7, 1, 3, 3)
    net.train()(x)
    net.eval()
    assert not torch.equal(net(x), plain(x)), "it rounds"
    torch.testing.assert_close(net(x), plain(x), rtol=0.1, atol=0.1)
    fake.detach(net)
    assert torch_pass.digest_of(net) == before and [type(p) for p in net] == [type(p) for p in plain]
    assert torch.equal(net(x), plain(x))


@pytest.mark.parametrize(
    ("scheme", "values"),
    [(U8, 256), (fake.Int8Scheme(True, False, False), 256), (fake.Int8Scheme(True, True, False), 256)],
)
def test_inputs_take_as_many_values_as_8_bits_have(scheme: fake.Int8Scheme, values: int) -> None:
    net = layer(scheme)
    x = torch.linspace(-1, 3, 6000).reshape(-1, 6)
    seen = fake._activation(net[0].train(), x)
    assert 150 < len(seen.unique()) <= values
    assert float((seen - x).abs().max()) <= 4 / 255 if not scheme.symmetric else 6 / 254
    zero = fake._activation(net[0].eval(), torch.zeros(1, 6))
    assert torch.equal(zero, torch.zeros(1, 6)), "nothing is rounded away from zero: padding stays padding"


@pytest.mark.parametrize(("reduced", "most"), [(False, 127), (True, 63)])
def test_weights_have_a_scale_for_each_channel(reduced: bool, most: int) -> None:
    net = layer(fake.Int8Scheme(False, False, reduced))
    with torch.no_grad():
        net[0].weight[0] *= 100
    rounded = fake._weight(net[0]).detach()
    steps = rounded / (net[0].weight.detach().abs().amax(1, keepdim=True) / most)
    torch.testing.assert_close(steps, steps.round(), atol=1e-2, rtol=0)
    assert float(steps.abs().max()) == pytest.approx(most, abs=1e-2)


def test_gradients_pass_the_rounding() -> None:
    net = layer().train()
    net(torch.randn(8, 6)).square().sum().backward()
    assert all(float(part.weight.grad.abs().sum()) > 0 for part in (net[0], net[2]))


def test_running_extremes_follow_training_batches_only() -> None:
    net = layer().train()
    net(torch.full((2, 6), 3.0))
    assert (float(net[0].fake_low), float(net[0].fake_high)) == (0.0, 3.0)
    net(torch.full((2, 6), -1.0))
    assert float(net[0].fake_low) == pytest.approx(-fake.TRACKING)
    before = net.state_dict()["0.fake_high"].clone()
    net.eval()(torch.full((2, 6), 100.0))
    assert torch.equal(net.state_dict()["0.fake_high"], before)


def test_int8_settings_follow_the_target(tmp_path: Path) -> None:
    for name in ("host", "jetson-orin-nano"):
        recipe = pass_defaults.resolve(catalog.recipe("int8-qat"), target.load(name), "onnxruntime")
        aware, static = (step.config for step in recipe.passes)
        assert {key: static[key] for key in aware} == dict(aware)
    assert isinstance(QuantizeAware(), Trainable)
    assert QuantizeAware.from_dict({"recovery": {"epochs": 2}}).recovery.epochs == 2
    with raises(UsageError, "epochs", "0"):
        QuantizeAware.from_dict({"recovery": {"epochs": 0}})


def test_what_it_cannot_train_is_refused(tmp_path: Path) -> None:
    model = load_module((torch.nn.Sequential(torch.nn.ReLU()), torch.zeros(1, 3)), Reference("net"), tmp_path)
    with raises(UsageError, "data", hint="--train"):
        QuantizeAware().apply(model, None, tmp_path)
    task = tasks.load(TaskConfig("tensor"), tmp_path, (TensorSpec("input", "f32", ("batch", 3)),))
    data = TrainingData(Samples.from_feeds([{"input": np.zeros((1, 3), np.float32)}]), task)
    with raises(UnsupportedError, "Linear", "Conv", hint="int8-static"):
        QuantizeAware().apply(model, None, tmp_path, Training(data, model, tmp_path, Silent()))


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    (tmp_path / "uneven_bars.py").write_text((Path(__file__).parent / "bars.py").read_text())
    for name, count, seed in (("val", 400, 7), ("train", 1024, 8)):
        images, labels = bars.pictures(count, seed)
        np.savez(tmp_path / f"{name}.npz", x=images, label=labels)
    return tmp_path


def export(place: Path, **options):
    # The target is not this machine, so that every machine rounds in the same way: weights in 7 bits.
    settings = {"candidates": ["onnxruntime/int8-static"], "target": "x86-avx2", "repair": False, "max_drop": 0.03}
    settings |= {"bench": False, **options}
    return api.export(
        "uneven_bars:uneven", output=place / "out", data="val.npz", train="train.npz", metric="accuracy",
        task="image-classification", force=True, **settings,
    )  # fmt: skip


def test_the_last_resort_passes_where_int8_and_nothing_else_does_not(place: Path) -> None:
    with pytest.raises(AccuracyFailure):
        export(place)
    result = export(place, qat=True, candidates=["onnxruntime/int8-static", "openvino/int8-static"])
    candidates = {candidate.name: candidate for candidate in result.report.candidates}
    assert set(candidates) == {
        f"{b}/{name}" for b in ("onnxruntime", "openvino") for name in ("int8-static", "int8-qat")
    }
    assert candidates["onnxruntime/int8-static"].status == candidates["openvino/int8-static"].status == "failed-gate"
    assert candidates["onnxruntime/int8-static"].quality.drop > 0.1
    assert candidates["openvino/int8-qat"].quality.ok, "the model trained for one backend may be faster on the other"
    steps = [path.read_text() for path in (place / "cache" / "steps").glob("*/*/entry.json")]
    assert sum("quantize-aware" in text for text in steps) == 1, "one training serves both"
    shipped = candidates["onnxruntime/int8-qat"]
    assert shipped.status == "shipped" and shipped.quality.drop <= 0.03
    assert [step.name for step in result.bundle.manifest.lineage] == ["quantize-aware", "export", "quantize-static"]
    assert any(mentions(note, "2 layers", "int8") for note in result.bundle.manifest.lineage[0].notes)
    again = catalog.recipe(str(place / "out" / "recipe.toml"))
    assert QuantizeAware.from_dict(again.passes[0].config).to_dict() == result.bundle.manifest.lineage[0].config


def test_the_last_resort_is_left_alone_where_a_repair_passes(place: Path) -> None:
    result = export(place, qat=True, repair=True)
    assert result.report.shipped.name == "onnxruntime/int8-static-repaired"
    assert not any("qat" in candidate.name for candidate in result.report.candidates)
    assert not (place / "cache" / "partial").exists()


def test_the_flag_alone_is_refused(place: Path) -> None:
    with raises(UsageError, "--qat", hint="--train DIR"):
        api.plan("uneven_bars:uneven", data="val.npz", qat=True)
    plan = api.plan(
        "uneven_bars:uneven", data="val.npz", train="train.npz", qat=True, candidates=["onnxruntime/fp32"]
    )  # fmt: skip
    assert [candidate.name for candidate in plan.candidates] == ["onnxruntime/fp32"]
    text = api.plan(
        "uneven_bars:uneven", data="val.npz", train="train.npz", qat=True, candidates=["onnxruntime/int8-static"]
    ).to_toml()  # fmt: skip
    assert mentions(text, ("#", "onnxruntime/int8-qat"))
    assert 'candidates = ["onnxruntime/int8-static"]' in text and "qat = true" in text


def test_equal_trainings_give_equal_graphs(tmp_path: Path) -> None:
    images, labels = bars.pictures(64, 3)
    config = TaskConfig("image-classification", image=ImageConfig(input="x", size=(8, 8)))
    task = tasks.load(config, tmp_path, (TensorSpec("x", "f32", ("batch", 1, 8, 8)),))
    data = TrainingData(Samples.from_feeds([{"x": image[None]} for image in images], list(labels)), task, "classes")
    model = load_module(bars.uneven(), Reference("net"), tmp_path)
    digests = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        settings = QuantizeAware(recovery=Recovery(epochs=2))
        trained = settings.apply(model, None, tmp_path, Training(data, model, tmp_path / name, Silent()))
        digests.append(trained.steps[-1].after)
    assert digests[0] == digests[1] != trained.steps[-1].before
