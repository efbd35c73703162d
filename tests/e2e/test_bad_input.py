"""What users get wrong is told in one message with one hint and the right exit code, and leaves nothing behind."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit import cache, errors
from edgekit._record import digest_of_file
from edgekit.cli import cli
from tests.wording import Fact, Wording, mentions, raises

pytestmark = pytest.mark.needs("onnx", "optimum.onnxruntime", "PIL")

sys.path.insert(0, str(Path(__file__).parent))  # the table's script shares the cases
bad_input = importlib.import_module("bad_input")
models, samples = (importlib.import_module(f"bad_input.{name}") for name in ("models", "samples"))

PLAIN = [case for case in bad_input.CASES if not case.alone]
ALONE = [case for case in bad_input.CASES if case.alone]
FP32 = ("--no-bench", "--candidate", "onnxruntime/fp32")


@pytest.fixture(scope="module")
def shared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def places(shared_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, with one cache for all cases: a bad input must not spoil it for the next."""
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(shared_cache))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def bundle(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "digits"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(shared_cache))
        edgekit.export("digits", output=path, bench=False, candidates=["onnxruntime/fp32"], max_samples=50)
    return path


@pytest.fixture(scope="module")
def namespaces() -> None:
    """Skip where no file system can be mounted without being root of the machine."""
    try:
        done = subprocess.run(["unshare", "-Urm", "true"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("unshare is missing")
    if done.returncode:
        pytest.skip(f"no mount namespaces here: {done.stderr.strip()}")


@pytest.mark.parametrize("case", PLAIN, ids=lambda case: case.name)
def test_it_is_told(case, bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], wording: Wording) -> None:
    argv = case.set_up(tmp_path, bundle)
    before = listing(tmp_path)
    capfd.readouterr()
    # click before 8.2 mixes stderr into stdout unless told otherwise; later ones know no such option.
    apart = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}
    result = CliRunner(**apart).invoke(cli, argv)
    stray = capfd.readouterr()
    told(case, result.exit_code, result.stdout, result.stderr)
    worded(case, argv, result.stderr, wording, tmp_path)
    assert not stray.err, f"something else wrote to stderr: {stray.err}"
    assert listing(tmp_path) == before, "the run changed files beside its output, or left some"
    sound()


@pytest.mark.parametrize("case", ALONE, ids=lambda case: case.name)
def test_it_is_told_by_a_process_of_its_own(
    case, request, bundle: Path, tmp_path: Path, shared_cache: Path, wording: Wording
) -> None:
    if case.mounts:
        request.getfixturevalue("namespaces")
    argv = case.set_up(tmp_path, bundle)
    before = listing(tmp_path)
    done = case.run(argv, tmp_path, shared_cache)
    told(case, done.returncode, "", done.stderr)
    worded(case, argv, done.stderr, wording, tmp_path)
    # Folders that the cache makes for itself may stay, files and work folders may not.
    left = [
        line for line in done.stdout.splitlines() if not re.search(r"/(cache|steps|work|locks)(/[0-9a-f]{2})?$", line)
    ]
    left = [line for line in left if "/locks/" not in line and "/cache/steps/" not in line]
    assert not left
    assert listing(tmp_path) == before
    sound()


@pytest.mark.parametrize("name", ["no such target", "weights that are NaN", "an operator that no runtime has"])
def test_the_command_says_what_the_library_says(name: str, bundle: Path, tmp_path: Path, shared_cache: Path) -> None:
    case = next(case for case in PLAIN if case.name == name)
    argv = case.set_up(tmp_path, bundle)
    done = case.run(argv, tmp_path, shared_cache)
    told(case, done.returncode, done.stdout, done.stderr)


def told(case, code: int, stdout: str, stderr: str) -> None:
    """Compare a command's output with the case."""
    lines = stderr.splitlines()
    marks = [line.partition(":")[0] for line in lines if line.startswith(("error:", "hint:"))]
    assert marks == ["error", "hint"], stderr
    text = stderr[stderr.index("error:") :]
    message, _, hint = text.partition("\nhint: ")
    assert code == case.code, stderr
    assert mentions(message, case.message)
    assert mentions(hint, case.hint)
    assert hint.strip() and "\n" not in hint.strip()
    assert "Traceback" not in stderr
    assert not stdout
    assert not message.endswith(("..", ":")) and "None" not in message


def worded(case, argv: list[str], stderr: str, wording: Wording, folder: Path) -> None:
    """Compare the message and its hint with the file of all wording."""
    places = {folder: "<dir>", os.environ["EDGEKIT_CACHE_DIR"]: "<cache>", os.environ["XDG_CONFIG_HOME"]: "<config>"}
    text = f"$ edgekit {shlex.join(argv)}\nexit code {case.code}\n{stderr[stderr.index('error:') :]}"
    wording.check(case.name, text, places)


def test_every_text_in_the_file_belongs_to_a_case(wording: Wording) -> None:
    if not wording.rewrite:
        others = ("reason: ", "reasons: ")  # of the tests of the choice
        kept = {name for name in wording.read() if not name.startswith(others)}
        assert kept == {case.name for case in bad_input.CASES}


def listing(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): digest_of_file(path) if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def sound() -> None:
    """Compare every entry of the cache with its record: no step is half made, and no work folder stays."""
    entries = cache.usage()
    root = cache.folder()
    steps = sorted(path.name for path in root.glob("steps/*/*"))
    assert steps == sorted(entry.key for entry in entries)
    for entry in entries:
        folder = root / "steps" / entry.key[:2] / entry.key
        assert {name: digest_of_file(folder / name) for name in entry.files} == entry.files
    assert not list(root.glob("work/*"))


def test_a_pickle_is_read_when_allowed_and_the_bundle_records_it(tmp_path: Path) -> None:
    models.pickled(models.checkpoint(tmp_path), code=False)
    argv = ["export", "./checkpoint", "--output", "out", *FP32, "--allow-pickle", "--quiet"]
    result = CliRunner().invoke(cli, argv)
    assert result.exit_code == 0, result.output
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["trusted"] == ["pickle: pytorch_model.bin"]


def test_a_refused_pickle_has_not_run(bundle: Path, tmp_path: Path) -> None:
    case = next(case for case in PLAIN if case.name == "a pickle that runs code")
    argv = case.set_up(tmp_path, bundle)
    assert CliRunner().invoke(cli, argv).exit_code == 2
    assert not (tmp_path / "ran").exists()
    assert CliRunner().invoke(cli, [*argv, "--allow-pickle"]).exit_code != 1
    assert (tmp_path / "ran").exists(), "the pickle holds no code: the test above proves nothing"


def test_data_without_labels_is_judged_by_agreement(tmp_path: Path) -> None:
    samples.pictures(tmp_path / "val", ("",))
    result = CliRunner().invoke(cli, ["export", "digits", "--data", "val", "--output", "out", *FP32, "--quiet"])
    assert result.exit_code == 0, result.output
    shipped = edgekit.open(tmp_path / "out").report().shipped
    assert shipped is not None and shipped.quality is not None
    assert shipped.quality.metric is None and shipped.quality.agreement == 1.0


def test_data_of_one_class_is_judged_and_noted(tmp_path: Path) -> None:
    samples.pictures(tmp_path / "val", ("3",))
    result = CliRunner().invoke(cli, ["export", "digits", "--data", "val", "--output", "out", *FP32, "--quiet"])
    assert result.exit_code == 0, result.output
    report = edgekit.open(tmp_path / "out").report()
    assert any(mentions(note, "'3'", "label") for note in report.notes), report.notes


def test_force_replaces_a_bundle(bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out).mkdir()
    (out / "manifest.json").write_text((bundle / "manifest.json").read_text())
    (out / "stale").touch()
    argv = ["export", "digits", "--output", "out", *FP32, "--max-samples", "50", "--force", "--quiet"]
    assert CliRunner().invoke(cli, argv).exit_code == 0
    assert edgekit.open(out).manifest.digest == edgekit.open(bundle).manifest.digest
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and not (out / "stale").exists()


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(
    ("feeds", "facts"),
    [
        ({"pixels": np.zeros((1, 3, 64, 64), np.float32)}, ("'pixels'", "'pixel_values'")),
        ({"pixel_values": np.zeros((1, 3, 64, 65), np.float32)}, ("'pixel_values'", "[1, 3, 64, 65]")),
        ({"pixel_values": np.zeros((3, 64, 64), np.float32)}, ("'pixel_values'", "[3, 64, 64]")),
        ({"pixel_values": np.zeros((1, 3, 64, 64), np.float64)}, ("'pixel_values'", "float64", "float32")),
        ({}, "'pixel_values'"),
    ],
    ids=["name", "shape", "rank", "dtype", "missing"],
)
def test_a_session_refuses_feeds_that_do_not_fit(backend: str, feeds: dict, facts: Fact, sessions: dict) -> None:
    for call in (sessions[backend].run, sessions[backend].bind):
        with raises(errors.UsageError, facts, hint="pixel_values:f32[1,3,64,64]"):
            call(feeds)


@pytest.fixture(scope="module")
def sessions(shared_cache: Path, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("sessions")
    opened = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(shared_cache))
        for backend in ("onnxruntime", "openvino"):
            result = edgekit.export(
                "digits", output=folder / backend, bench=False, candidates=[f"{backend}/fp32"], max_samples=50
            )
            opened[backend] = result.bundle.session()
    yield opened
    for session in opened.values():
        session.close()
