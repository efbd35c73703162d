"""Run an engine by `trtexec` on a board without TensorRT's Python module: for outputs and layer times, not latency.

Each run starts a process that loads the engine again, so nothing here can be timed; trtexec times the engine when it
is built. Outputs are text with six digits.
"""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision, TensorSpec, check_feeds
from edgekit_tensorrt import cuda, engine_info, engine_layers, layers, runtime, trtexec
from edgekit_tensorrt.layers import CompiledLayer

if TYPE_CHECKING:
    import numpy as np

LAYERS = "layers.json"
"""The engine's layers, as the inspector reported them when it was built."""

RUN_SECONDS = 300.0


class TrtexecSession:
    """An engine that trtexec runs. Tests give stubs of `binary` and `driver`."""

    def __init__(self, payload: Payload, *, binary: Path | None = None, driver: cuda.Cuda | None = None) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        info = engine_info.load(payload.main)
        self._engine = payload.main.absolute()
        self._layers = payload.main.with_name(LAYERS)
        self._binary = binary or trtexec.find()
        gpu = driver or cuda.driver()
        self._turn = threading.Lock()  # calls write files of the same names
        self._work: tempfile.TemporaryDirectory[str] | None = tempfile.TemporaryDirectory(prefix="edgekit-trtexec.")
        try:
            version = trtexec.version_of(trtexec.read_help(self._binary, self._folder / "help.log"))
            here = engine_info.this_board("tensorrt", version or "", gpu.sm, gpu.name, gpu.driver)
            engine_info.check_board(info, here)
        except BaseException:
            self.close()
            raise

    @property
    def precision(self) -> Precision:
        """Return the types in which the layers compute, from the layer information written with the engine."""
        effective = layers.precision(self._compiled_layers())
        if effective is None:
            raise UnsupportedError("the engine's layer information is missing, or has no types.")
        return effective

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once, in a process of its own; the outputs belong to the caller."""
        import numpy as np

        check_feeds(self.inputs, feeds)
        with self._turn:
            folder = self._folder
            files = {}
            for index, spec in enumerate(self.inputs):
                files[spec.name] = folder / f"{index}.input"
                np.ascontiguousarray(feeds[spec.name]).tofile(files[spec.name])
            outputs, log = folder / "outputs.json", folder / "run.log"
            argv = trtexec.outputs_argv(self._binary, self._engine, self._sizes(feeds), files, outputs)
            trtexec.run(argv, log, timeout_s=RUN_SECONDS, activity="running the engine", partial=(outputs,))
            return trtexec.read_outputs(outputs, {spec.name: _dtype(spec) for spec in self.outputs})

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Raise UnsupportedError: most of the time of such a call is the start of a process."""
        self._check(feeds)
        raise UnsupportedError(
            "this board runs the engine by trtexec only, with a process for each inference: it cannot be timed.",
            hint=f"install the Python module: {runtime.MISSING['tensorrt']}; trtexec's times are in the report",
        )

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Return the medians of trtexec's profile, which it takes on random inputs."""
        self._check(feeds)
        with self._turn:
            times, log = self._folder / "profile.json", self._folder / "run.log"
            argv = trtexec.profile_argv(self._binary, self._engine, self._sizes(feeds), times)
            trtexec.run(argv, log, timeout_s=RUN_SECONDS, activity="profiling", partial=(times,))
            return trtexec.read_profile(times, self._compiled_layers())

    def close(self) -> None:
        """Remove the files; safe to call twice."""
        with self._turn:
            work, self._work = self._work, None
            if work is not None:
                work.cleanup()

    @property
    def _folder(self) -> Path:
        if self._work is None:
            raise UsageError("the session is closed.", hint="open the bundle again")
        return Path(self._work.name)

    def _check(self, feeds: Mapping[str, np.ndarray]) -> None:
        _ = self._folder
        check_feeds(self.inputs, feeds)

    def _compiled_layers(self) -> tuple[CompiledLayer, ...]:
        return engine_layers.read(self._layers.read_text()) if self._layers.is_file() else ()

    def _sizes(self, feeds: Mapping[str, np.ndarray]) -> dict[str, Sequence[int]]:
        return {spec.name: feeds[spec.name].shape for spec in self.inputs if not spec.is_static}


def _dtype(spec: TensorSpec) -> str:
    if spec.dtype in ("bf16", "str"):
        raise UnsupportedError(f"the output '{spec.name}' is {spec.dtype}, which numpy does not support.")
    return spec.numpy_dtype
