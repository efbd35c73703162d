"""Files and folders of inputs: a line for each answer, and a bad input costs its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import edgekit
from edgekit.cli import cli


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    result = edgekit.export("digits", candidates=["onnxruntime/fp32"], bench=False, output=str(folder / "out"))
    return result.bundle


@pytest.fixture
def scans(tmp_path, digits):
    from edgekit import embedded

    folder = tmp_path / "scans"
    (folder / "more").mkdir(parents=True)
    with np.load(embedded.data_folder("digits") / "evaluation.npz") as file:
        name = next(key for key in file if file[key].ndim >= 3)
        pictures = file[name][:4]
    for place, picture in enumerate(pictures):
        pixels = np.squeeze(picture)
        scaled = (255 * (pixels - pixels.min()) / np.ptp(pixels)).astype(np.uint8)
        Image.fromarray(scaled).save(folder / ("more" if place > 2 else ".") / f"{place}.png")
    return folder


def run(*words):
    return CliRunner().invoke(cli, ["run", *map(str, words)])


def test_a_folder_gives_a_line_for_each_picture(digits, scans):
    result = run(digits.path, scans)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0 and len(lines) == 4
    assert lines[0]["answer"] == digits.predict(scans / "0.png")
    assert "4 answers" in result.stderr


def test_a_broken_picture_costs_its_own_line(digits, scans):
    (scans / "1.png").write_bytes(b"\x89PNG no picture")
    result = run(digits.path, scans)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 2 and len(lines) == 4 and "1 of 4 inputs" in result.stderr
    assert [("error" in line) for line in lines] == ["1.png" in line["input"] for line in lines]


def test_several_pictures_are_several_answers(digits, scans):
    result = run(digits.path, scans / "0.png", scans / "2.png")
    assert result.exit_code == 0 and len(result.stdout.splitlines()) == 2


def test_an_empty_folder_is_refused(digits, tmp_path):
    (tmp_path / "none").mkdir()
    result = run(digits.path, tmp_path / "none")
    assert result.exit_code == 2 and "holds no pictures" in result.stderr and result.stdout == ""


def test_settings_of_generation_are_refused_for_a_classifier(digits, scans):
    result = run(digits.path, scans / "0.png", "--max-new-tokens", 5)
    assert result.exit_code == 2 and "generates no text" in result.stderr
