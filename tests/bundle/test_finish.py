"""A portable bundle is finished on its device: whole, proven there, or left as it was."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from edgekit import api
from edgekit._record import digest_of_file
from edgekit.bundle import finish, verify
from edgekit.bundle.bundle import open as open_bundle
from edgekit.errors import AccuracyFailure, ArtifactError, BuildError, DeviceError, EnvironmentFault, UsageError
from edgekit.target import host
from edgekit.testing import fake_plugin, install, installed
from tests.bundles import change_manifest
from tests.wording import mentions, raises

ELSEWHERE = """
summary = "A board that is not here"
backends = ["numpy-portable"]
[candidates]
numpy-portable = ["fp32"]
[device]
arch = "{arch}"
board = "Board of another maker"
"""


@pytest.fixture(autouse=True)
def fakes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with fake_plugin():
        yield


def write_model(folder: Path) -> str:
    """Write a model of two layers and data that it labels right."""
    dice = np.random.default_rng(7)
    shapes = {"w0": (6, 16), "b0": (16,), "w1": (16, 3), "b1": (3,)}
    np.savez(folder / "weights.npz", **{k: dice.standard_normal(s).astype(np.float32) for k, s in shapes.items()})
    names = [f"f{i}" for i in range(6)]
    described = {"weights": "weights.npz", "labels": ["a", "b", "c"], "features": names}
    (folder / "model.json").write_text(json.dumps(described))
    with (folder / "data.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow([*names, "label"])
        writer.writerows([*map(float, row), "a"] for row in dice.standard_normal((40, 6)))
    return "fake:model.json"


def export(**options: float) -> Path:
    """Return a portable bundle for this machine."""
    lines = "".join(f"{name} = {value}\n" for name, value in options.items())
    Path("here.toml").write_text(
        'extends = "host"\nsummary = "This machine"\nbackends = ["numpy-portable"]\n'
        f'[candidates]\nnumpy-portable = ["fp32"]\n[options.numpy-portable]\n{lines}'
    )
    api.export(write_model(Path()), target="./here.toml", data="data.csv", output="out")
    return Path("out")


def contents(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): digest_of_file(p) for p in sorted(folder.rglob("*")) if p.is_file()}


def retarget(path: Path, target: dict) -> None:
    change_manifest(path, lambda manifest: manifest["target"].update(target))


def test_a_portable_bundle_says_what_to_do_before_it_runs():
    path = export()
    for use in (verify.verify, lambda path: verify.benchmark([path]), lambda path: open_bundle(path).session()):
        with raises(ArtifactError, "'out'", "portable") as refusal:
            use(path)
        assert mentions(refusal.value.hint, "`edgekit finish out`")


def test_nothing_is_measured_beside_what_has_no_engine():
    shipped = open_bundle(export()).report().shipped
    assert shipped.measurement is None and shipped.effective is None
    assert mentions(shipped.reason, "`edgekit finish`")


def test_finishing_compiles_proves_and_keeps_what_was_prepared():
    path = export()
    before = open_bundle(path).manifest
    report = finish.finish(path)
    bundle = open_bundle(path)
    manifest = bundle.manifest
    assert (manifest.portable, manifest.evidence, manifest.parts[0].payload) == (
        False,
        "built_on_device",
        ("model/engine.npz",),
    )
    assert digest_of_file(path / "prepared/mlp.npz") == {f.path: f.sha256 for f in before.files}["model/mlp.npz"]
    assert manifest.prepared.digest == before.digest != manifest.digest
    assert manifest.effective.main == "f32"
    step = manifest.lineage[-1]
    assert (step.name, step.before, step.after) == ("finish", before.digest, manifest.digest)
    assert report.kind == "verify" and report.ok and report.artifact == manifest.digest
    assert any(mentions(note, "2 layers") for note in report.notes)
    with bundle.session() as session:
        for feeds, outputs in bundle.samples():
            assert np.allclose(session.run(feeds)["logits"], outputs["logits"], atol=1e-5)
    assert verify.verify(path).ok
    assert [p.name for p in Path().iterdir() if p.name.startswith(".out")] == []


def test_the_report_of_the_bundle_is_brought_up_to_date():
    path = export()
    old = open_bundle(path).report()
    finish.finish(path)
    bundle = open_bundle(path)
    new = bundle.report()
    assert (new.evidence, new.artifact) == ("built_on_device", bundle.manifest.digest)
    assert new.lineage == bundle.manifest.lineage
    assert new.shipped.effective == bundle.manifest.effective
    assert new.notes[: len(old.notes)] == old.notes and new.notes[-1].startswith("finished on ")
    assert new.notes[-1] in (path / "report.md").read_text()


def test_finishing_again_starts_from_what_was_prepared():
    path = export()
    finish.finish(path)
    first = open_bundle(path).manifest
    finish.finish(path)
    second = open_bundle(path).manifest
    assert second.prepared == first.prepared and second.digest == first.digest
    assert [step.name for step in second.lineage].count("finish") == 1
    assert sum(note.startswith("finished on ") for note in open_bundle(path).report().notes) == 1


def test_another_device_is_refused_with_every_reason():
    path = export()
    before = contents(path)
    other = {"x86_64": "aarch64"}.get(host.probe().arch, "x86_64")
    retarget(path, {"device": {"arch": other, "board": "Board of another maker"}})
    with pytest.raises(ArtifactError) as refusal:
        finish.finish(path)
    assert mentions(refusal.value.message, other)
    assert mentions(refusal.value.message, "'Board of another maker'")
    assert "edgekit deploy" in refusal.value.hint
    assert {k: v for k, v in contents(path).items() if k != "manifest.json"} == {
        k: v for k, v in before.items() if k != "manifest.json"
    }


def test_an_engine_that_computes_wrongly_is_not_put_in_place():
    path = export(damage=0.5)
    before = contents(path)
    with raises(AccuracyFailure, ("1.2", "0", "0.001"), "'out'", hint="edgekit doctor") as failure:
        finish.finish(path)
    assert failure.value.context["report"].failures
    assert contents(path) == before
    assert open_bundle(path).manifest.portable


CRASHING = """
import os
from edgekit.testing.finishable import PortableNumpy

class Crashing(PortableNumpy):
    name = "crashing"
    def open(self, payload):
        if payload.main.name == "engine.npz":
            os.kill(os.getpid(), 11)
        return super().open(payload)

class Empty(PortableNumpy):
    name = "empty"
    def finish(self, payload, target, workdir):
        finished = super().finish(payload, target, workdir)
        (workdir / "engine.npz").unlink()
        return finished
"""


@pytest.mark.parametrize(
    ("backend", "kind", "fact"),
    [("crashing", DeviceError, "SIGSEGV"), ("empty", BuildError, "engine.npz")],
)
def test_a_runtime_that_crashes_or_writes_nothing_leaves_the_bundle_alone(tmp_path, backend, kind, fact):
    points = {"edgekit.backends": {"crashing": "crashing:Crashing", "empty": "crashing:Empty"}}
    folder = install(tmp_path / "site", "edgekit-crashing", points, {"crashing.py": CRASHING})
    path = export()
    with installed(folder):
        change_manifest(path, lambda manifest: manifest.update(backend=backend))
        before = contents(path)
        with raises(kind, f"'{backend}'", fact):
            finish.finish(path)
        assert contents(path) == before


def test_what_is_compiled_already_has_nothing_to_finish():
    write_model(Path())
    api.export("fake:model.json", candidates=["numpy/fp32"], data="data.csv", output="out", bench=False)
    with raises(UsageError, "'out'", "portable", hint="edgekit verify out"):
        finish.finish("out")
    with raises(UsageError, "'nowhere'", hint="edgekit export"):
        finish.finish("nowhere")


def test_a_backend_that_cannot_finish_is_told():
    path = export()
    change_manifest(path, lambda manifest: manifest.update(backend="numpy"))
    with raises(EnvironmentFault, "'numpy'", "edgekit-fake 1.0", hint="pip install --upgrade edgekit-fake"):
        finish.finish(path)


def test_an_altered_bundle_is_not_finished():
    path = export()
    (path / "model/mlp.npz").write_bytes(b"something else")
    with raises(ArtifactError, "'out'", ("'model/mlp.npz'", "14 bytes"), hint="export"):
        finish.finish(path)


def command(*args: str, **kwargs) -> subprocess.Popen:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([sys.executable, "-m", "edgekit.cli", *args], **pipes, **kwargs)


def test_the_verb_prints_the_proof():
    path = export()
    process = command("finish", str(path), "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out)["candidates"][0]["quality"]["checks"][0]["passed"]


def test_the_verb_ends_with_5_when_the_outputs_are_wrong():
    path = export(damage=0.5)
    process = command("finish", str(path), "--json")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 5, err
    assert json.loads(out)["report"]["failures"]
    assert mentions(err, "'out'")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_killed_in_between_nothing_is_half_written(how):
    path = export(pause_s=30)
    before = contents(path)
    process = command("finish", str(path))
    cache = Path(os.environ["EDGEKIT_CACHE_DIR"])
    deadline = time.monotonic() + 60
    while not list(cache.glob("partial/finish.*/engine.npz")):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(how)
    process.communicate(timeout=60)
    assert process.returncode not in (0, 1)
    assert contents(path) == before
    change_manifest(path, lambda manifest: manifest["parts"][0]["options"].update(pause_s=0.0))
    finish.finish(path)
    assert open_bundle(path).manifest.evidence == "built_on_device"
    assert list(cache.glob("partial/finish.*")) == []


def test_killed_while_it_is_written_the_old_bundle_stays():
    path = export()
    before = contents(path)
    leftover = Path(".out.0123abcd.new")
    leftover.mkdir()
    Path(".out.0123abcd.lock").touch()
    (leftover / "half").write_text("half")
    assert contents(path) == before
    finish.finish(path)
    assert not leftover.exists()
