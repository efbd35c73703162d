"""The comparison in `benchmarks/clocks.py`, and its bare loop."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parent.parent.parent / "benchmarks"


def script(name: str):
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_agreement_is_judged_by_pairs():
    clocks = script("clocks")
    theirs = np.array([1.0, 2.0, 1.0, 3.0, 1.0])  # what slows one turn slows both of its pair
    assert clocks.compare(1.02 * theirs, theirs)["within"] and clocks.compare(1.02 * theirs, theirs)["ratio_low"] > 1.01
    assert not clocks.compare(1.05 * theirs, theirs)["within"]
    assert not clocks.compare(0.9 * theirs, theirs)["within"]


def test_the_bare_loop_measures_a_known_time():
    percentiles = script("clocks_child").loop(lambda: time.sleep(0.004), 0.2)
    assert 4 <= percentiles["p50"] <= percentiles["p90"] and percentiles["count"] <= 50


def test_loadgen_measures_a_known_time():
    pytest.importorskip("mlperf_loadgen", reason="mlcommons-loadgen is installed for benchmarks only")
    percentiles = script("clocks_child").loadgen(lambda: time.sleep(0.004), 0.3)
    assert 4 <= percentiles["p50"] <= percentiles["p90"] and percentiles["count"] >= 64


def test_a_table_names_what_does_not_agree(tmp_path):
    clocks = script("clocks")
    row = {"against": "LoadGen", "percentile": "p90", **clocks.compare(np.full(5, 1.2), np.full(5, 1.0))}
    host = {"cpu": "some processor", "cores": 2, "virtual": True}
    environment = {"host": host, "packages": {"edgekit": "0.1.0"}, "created": "now"}
    result = {"bundle": "net", "recipe": "fp32", "threads": 2, "cycles": 5, "seconds": 2.0, "rows": [row]}
    text = clocks.markdown([{**result, "environment": environment}])
    assert "| net (fp32) | LoadGen | p90 | 1.2000 | 1.0000 | 1.200 | 1.200 to 1.200 | NO |" in text
    assert "some processor, 2 cores, virtual, 2 threads, 5 turns of 2 s each" in text
    json.dumps(result)


def test_its_help_explains_how_to_run_it():
    done = subprocess.run([sys.executable, str(BENCHMARKS / "clocks.py"), "-h"], capture_output=True, text=True)
    assert done.returncode == 0 and "mlcommons-loadgen" in done.stdout
