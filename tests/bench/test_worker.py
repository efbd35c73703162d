"""The measuring process: its answers, what cannot disturb it, and the errors of its death."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.bench import Worker
from edgekit.bench.child import command_line
from edgekit.errors import ArtifactError, DeviceError, UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Part, Precision
from edgekit.spec import TensorSpec
from tests.measuring import least
from tests.wording import mentions, raises

MATMUL = "edgekit_bench_backends:Matmul"
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")


def gone(pid: int, within_s: float = 30) -> bool:
    """Return whether a process ends in time; a zombie that its parent has not reaped counts as ended."""
    end = time.monotonic() + within_s
    while time.monotonic() < end:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.02)
    return False


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_it_opens_warms_measures_and_reports(payload, feeds):
    model = payload()
    with Worker(MATMUL) as worker:
        opened = worker.open(model, feeds)
        assert opened["shapes"] == {"x": [1, 64]} and opened["threads"] == 1
        assert all(value > 0 for value in opened["cold_start"].values())
        warmed = worker.warm(min_seconds=0, max_seconds=1)
        assert warmed["count"] > 5 and warmed["seconds"] > 0.2
        first = worker.round(10)
        second = worker.round(1000, most=7)
        latencies = worker.latencies_ns()
        assert second["count"] == 7 and len(latencies) == first["count"] + 7
        assert np.median(latencies[-7:]) == second["median_ns"]
        assert latencies[: first["count"]].sum() <= first["seconds"] * 1e9
        assert worker.precision() == Precision("f32", {"f32": 1})
        assert worker.profile(feeds) == (LayerTime("matmul", "MatMul", "f32", 0.5),)
        assert 5 < worker.peak_memory_mb() < 1000
        pid = worker.pid
    assert gone(pid)


def test_outputs_come_back_whatever_their_names_and_types(payload, feeds):
    outputs = (TensorSpec("file", "f32", (1, 8)), TensorSpec("labels/0:str", "str", (2,)))
    part = Part("model", "model.npz", (TensorSpec("file", "f32", (1, 64)),), outputs)
    model = replace(payload(), part=part)
    given = {"file": feeds["x"]}
    with Worker(MATMUL) as worker:
        worker.open(model, given)
        results = worker.run(given)
    with np.load(model.main) as weights:
        np.testing.assert_array_equal(results["file"], feeds["x"] @ weights["w"])
    assert results["labels/0:str"].tolist() == ["cat", "dog"]


def test_what_a_runtime_prints_does_not_disturb(payload, feeds):
    with Worker(MATMUL) as worker:
        worker.open(payload(at="call", what="talk"), feeds)
        assert worker.round(1, most=5)["count"] == 5


def test_imports_made_while_loading_count_as_import(payload, feeds):
    def load_ms() -> float:
        with Worker(MATMUL) as worker:
            cold = worker.open(payload(at="open", what="heavy"), feeds)["cold_start"]
        assert cold["import_ms"] > 200, "the module that is imported inside `open` takes 200 ms"
        return cold["load_ms"]

    assert 50 <= least(load_ms, 200) < 200, "its sleep of 50 ms is loading"


def test_no_framework_is_imported(payload, feeds, tmp_path, monkeypatch):
    poison = tmp_path / "poison"
    poison.mkdir()
    for name in ("torch", "transformers", "optimum", "onnx"):
        (poison / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')\n")
    monkeypatch.syspath_prepend(str(poison))
    with Worker(MATMUL) as worker:
        worker.open(payload(), feeds)
        worker.round(1)
        worker.run(feeds)


def test_a_module_in_the_working_directory_is_not_imported(payload, feeds, tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    with Worker(MATMUL) as worker:
        worker.open(payload(), feeds)


@pytest.mark.parametrize(
    ("what", "name", "word"),
    [
        ("illegal", "SIGILL", "instruction"),
        ("segfault", "SIGSEGV", "memory"),
        ("out-of-memory", "SIGKILL", "memory"),
    ],
)
def test_death_by_a_signal_is_an_error(payload, feeds, what, name, word):
    with pytest.raises(DeviceError) as caught, Worker(MATMUL) as worker:
        worker.open(payload(at="open", what=what), feeds)
    message = caught.value.message
    assert mentions(message, name, word, MATMUL, "loading")
    assert caught.value.hint and caught.value.context["signal"] == name
    if what == "illegal":
        assert "libfast: using avx9000 kernels" in message, "the last lines of the log show what happened"


def test_an_exit_is_an_error(payload, feeds):
    with raises(DeviceError, "exit code 3", "measuring"), Worker(MATMUL) as worker:
        worker.open(payload(), feeds)
        program = {"payloads": [_leaving(payload)]}
        worker._ask("open", "measuring", backend=MATMUL, program=program, **worker._write(feeds))


def _leaving(payload) -> dict[str, object]:
    return payload(at="open", what="leave").to_dict()


def test_a_hanging_runtime_is_ended(payload, feeds):
    with raises(DeviceError, "1 s", "loading"), Worker(MATMUL, timeout_s=1) as worker:
        worker.start()
        pid = worker.pid
        worker.open(payload(at="open", what="hang"), feeds)
    assert gone(pid)


def test_our_errors_arrive_complete(payload, feeds):
    with raises(ArtifactError, "another machine") as caught, Worker(MATMUL) as worker:
        worker.open(payload(at="open", what="refuse"), feeds)
    assert caught.value.hint == "build it again" and caught.value.context == {"arch": "riscv64"}


def test_problems_are_listed_once(payload, feeds):
    with pytest.raises(UnsupportedError) as caught, Worker(MATMUL) as worker:
        worker.open(payload(at="profile", what="cannot-profile"), feeds)
        worker.profile(feeds)
    assert caught.value.message.count("no counters") == 1


def test_a_vendor_error_is_ours_with_its_trace(payload, feeds):
    with raises(DeviceError, ("RuntimeError", "bad stride")) as caught, Worker(MATMUL) as worker:
        worker.open(payload(at="bind", what="vendor"), feeds)
    assert "_vendor" in str(caught.value.context["trace"])


def test_feeds_that_do_not_fit_are_a_usage_error(payload, feeds):
    with raises(UsageError, "'z'"), Worker(MATMUL) as worker:
        worker.open(payload(), feeds)
        worker.run({"z": feeds["x"]})


@pytest.mark.parametrize(
    ("backend", "fact"),
    [
        ("onxruntime", ("'onxruntime'", "'onnxruntime'")),
        ("no_such_module:Backend", "no_such_module"),
        ("edgekit_bench_backends:Nothing", "Nothing"),
    ],
)
def test_an_unknown_backend_is_named(payload, feeds, backend, fact):
    with raises(UsageError, fact), Worker(backend) as worker:
        worker.open(payload(), feeds)


def test_a_command_to_a_closed_worker_is_an_error(payload, feeds):
    worker = Worker(MATMUL)
    worker.open(payload(), feeds)
    worker.close()
    worker.close()
    with raises(UsageError, "open", "closed"):
        worker.round(1)


@linux
def test_a_paused_worker_uses_no_processor(payload, feeds):
    with Worker(MATMUL) as worker:
        worker.open(payload(at="call", what="spin"), feeds)
        time.sleep(0.4)
        worker.round(1, most=1)
        began, before = time.monotonic(), cpu_seconds(worker.pid)
        while cpu_seconds(worker.pid) - before < 0.05:  # on a busy machine it takes its time
            assert time.monotonic() - began < 60, "left alone its thread goes on spinning"
            time.sleep(0.05)
        took = time.monotonic() - began
        worker.round(1, most=1)
        worker.pause()
        before = cpu_seconds(worker.pid)
        time.sleep(max(0.25, took))
        assert cpu_seconds(worker.pid) - before < 0.025, "at most the ticks of 10 ms in which it was stopped"
        worker.resume()
        assert worker.round(1, most=1)["count"] == 1


@linux
@pytest.mark.parametrize("state", ["idle", "paused", "busy"])
def test_it_dies_with_its_parent(payload, feeds, state, tmp_path):
    """A parent that is killed cannot clean up; its worker must not run on."""
    model = payload(**({"at": "bind", "what": "hang"} if state == "busy" else {}))
    np.savez(tmp_path / "feeds.npz", **feeds)
    script = f"""
        import json, sys
        from pathlib import Path
        import numpy as np
        from edgekit.bench import Worker
        from edgekit.plugin import Payload
        worker = Worker({MATMUL!r})
        worker.start()
        print(worker.pid, flush=True)
        worker.open(Payload.from_dict(json.loads({_json(model)!r})), dict(np.load({str(tmp_path / "feeds.npz")!r})))
        {"worker.pause()" if state == "paused" else ""}
        print("open", flush=True)
        sys.stdin.read()
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
    ) as parent:
        pid = int(parent.stdout.readline())
        if state == "busy":
            time.sleep(0.5)
        else:
            assert parent.stdout.readline() == "open\n"
        assert Path(f"/proc/{pid}").exists()
        parent.send_signal(signal.SIGKILL)
    assert gone(pid)


def _json(model) -> str:
    import json

    return json.dumps(model.to_dict())


def test_a_process_in_another_interpreter_finds_the_checkout_and_keeps_its_own_packages(payload, feeds, tmp_path):
    link = tmp_path / "bin" / "python"  # the same environment under another path, in place of another one
    link.parent.mkdir()
    link.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    link.chmod(0o755)
    model = payload()
    with Worker(MATMUL, python=link) as worker:
        worker.open(model, feeds)
        (output,) = worker.run(feeds).values()
    with np.load(model.main) as arrays:
        np.testing.assert_allclose(output, feeds["x"] @ arrays["w"], rtol=1e-5)
    shared = command_line(link)[4:]
    assert not any(entry.startswith(sys.prefix + os.sep) for entry in shared), "no package of this environment"
