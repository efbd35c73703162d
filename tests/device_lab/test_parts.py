"""Models of several graphs on the emulated board: the same text there as here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from edgekit.device import connect
from edgekit.device.deploy import Settings
from edgekit.device.fleet import Device
from tests.deploying import deployed
from tests.pipeline.test_seq2seq import FILES, marian

TEXTS = ("ein hund rennt", "kind im wald und hund")


@pytest.fixture(scope="module")
def bundles(tmp_path_factory) -> dict[str, Path]:
    """Return the bundles of one model for the board and for this machine."""
    folder = tmp_path_factory.mktemp("translation")
    shutil.copytree(FILES, folder / "checkpoint")
    marian(num_beams=3).save_pretrained(folder / "checkpoint")
    (folder / "data.csv").write_text("de\n" + "".join(f"{text}\n" for text in TEXTS * 3))
    for target in ("raspberry-pi-4", "host"):
        edgekit.export(
            str(folder / "checkpoint"),
            target=target,
            data=str(folder / "data.csv"),
            candidates=["onnxruntime/fp32"],
            bench=False,
            output=str(folder / target),
        )
    return {target: folder / target for target in ("raspberry-pi-4", "host")}


@pytest.mark.slow
@pytest.mark.nightly
def test_a_translation_is_the_same_on_the_board(bundles, board, lab, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(lab.folder / "edgekit"))
    address = board("cortex-a72").address
    (outcome,) = deployed(bundles["raspberry-pi-4"], [Device("a72", address)], Settings(bootstrap=True, keep=True))
    assert outcome.ok, outcome.fault
    (candidate,) = outcome.report.candidates
    assert candidate.quality.rel_l2 < 1e-4 and candidate.measurement is None
    for text in TEXTS:
        words = ["run", outcome.bundle, text, "--json"]
        with connect(address) as transport:
            there = transport.run([outcome.python, "-m", "edgekit.cli", *words], timeout_s=600)
        here = CliRunner().invoke(cli, ["run", str(bundles["host"]), text, "--json"])
        answer = json.loads(there.text).get("answer")
        assert answer == json.loads(here.output)["answer"], there.text
        assert json.loads(here.output)["answer"]["translation"]
