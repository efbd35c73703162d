"""A runtime in numpy, with options to misbehave, for the measuring processes of these tests.

The model is `y = x @ w`, repeated `repeats` times; the options of the payload change it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgekit._record import Record
from edgekit.errors import ArtifactError, UnsupportedError
from edgekit.plugin import LayerTime, Payload, Precision, Probe, Support
from edgekit.spec import check_feeds

SPIN_S = 0.3


@dataclass(frozen=True)
class Options(Record):
    repeats: int = 1
    sleep_ms: float = 0.0
    at: str = "never"
    """The moment to do `what`: open, bind, call, profile."""
    what: str = ""
    hot: str = ""
    """A file; once it exists the model sleeps three times as long, as on a machine that became hot."""


class Matmul:
    api = 2
    name = "matmul"
    summary = "numpy, for tests"
    accepts = frozenset({"npz"})
    options = Options

    def probe(self):
        return Probe(True, {"numpy": np.__version__})

    def supports(self, model, target):
        return Support()

    def build(self, model, target, options, workdir):
        raise NotImplementedError("these tests write payloads themselves")

    def open(self, payload: Payload):
        return Session(payload)


class Session:
    precision = Precision("f32", {"f32": 1})
    threads = 1

    def __init__(self, payload: Payload) -> None:
        self.inputs, self.outputs = payload.part.inputs, payload.part.outputs
        self.options = Options.from_dict(payload.options)
        with np.load(payload.main) as file:
            self.weight = file["w"]
        self._misbehave("open")

    def run(self, feeds):
        check_feeds(self.inputs, feeds)
        self._misbehave("run")
        time.sleep(self.options.sleep_ms / 1000)
        outputs = {self.outputs[0].name: next(iter(feeds.values())) @ self.weight}
        if len(self.outputs) > 1:
            outputs[self.outputs[1].name] = np.array(["cat", "dog"], dtype=object)
        return outputs

    def bind(self, feeds):
        self._misbehave("bind")
        x = next(iter(feeds.values()))
        y = np.empty((x.shape[0], self.weight.shape[1]), np.float32)

        def call() -> None:
            for _ in range(self.options.repeats):
                np.matmul(x, self.weight, out=y)
            if self.options.sleep_ms:
                hot = self.options.hot and Path(self.options.hot).exists()
                time.sleep(self.options.sleep_ms / 1000 * (3 if hot else 1))
            self._misbehave("call")

        return call

    def profile(self, feeds):
        self._misbehave("profile")
        return (LayerTime("matmul", "MatMul", "f32", 0.5),)

    def close(self) -> None:
        pass

    def _misbehave(self, moment: str) -> None:
        if self.options.at == moment:
            _WHAT[self.options.what]()


def _talk() -> None:
    print('{"ok": "this is not the answer"}', flush=True)
    os.write(1, b"nor is this\n")


def _segfault() -> None:
    ctypes.string_at(0)


def _illegal() -> None:
    os.write(2, b"libfast: using avx9000 kernels\n")
    os.kill(os.getpid(), signal.SIGILL)


def _refuse() -> None:
    raise ArtifactError("the payload is for another machine.", hint="build it again", arch="riscv64")


def _cannot_profile() -> None:
    raise UnsupportedError("this runtime cannot profile", problems=("no counters",))


def _vendor() -> None:
    raise RuntimeError("[vendor] error 0x80: bad stride")


def _hang() -> None:
    time.sleep(60)


def _spin() -> None:
    """Leave a thread spinning after the call, as a runtime's pool does."""

    def work() -> None:
        end = time.monotonic() + SPIN_S
        while time.monotonic() < end:
            pass

    threading.Thread(target=work, daemon=True).start()


def _heavy() -> None:
    import numpy.polynomial.chebyshev

    time.sleep(0.05)
    __import__("edgekit_slow_import")
    del numpy


def _leave() -> None:
    os._exit(3)


def _out_of_memory() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


_WHAT = {
    "talk": _talk,
    "segfault": _segfault,
    "illegal": _illegal,
    "refuse": _refuse,
    "cannot-profile": _cannot_profile,
    "vendor": _vendor,
    "hang": _hang,
    "spin": _spin,
    "heavy": _heavy,
    "leave": _leave,
    "out-of-memory": _out_of_memory,
}
