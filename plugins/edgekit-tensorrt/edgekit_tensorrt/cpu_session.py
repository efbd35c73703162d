"""Run the graph of a payload on ONNX Runtime's CPU kernels, to check its outputs on a machine without its device.

Build side: imports onnxruntime on use. Operators in f16 and bf16 are rounded by `emulate.py`. Q/DQ pairs are not fused
into integer kernels: they round, and products are summed in float, as TensorRT's kernels sum in 32 bits. So no sum
saturates as it may in integer kernels of this processor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision, TensorSpec, check_feeds, no_telemetry
from edgekit_tensorrt.plan import GRAPH, PLAN, BuildPlan

if TYPE_CHECKING:
    import numpy as np

CPU = "CPUExecutionProvider"


class CpuSession:
    """The graph of a payload on this machine's processor: for its outputs, not for its speed."""

    def __init__(self, payload: Payload) -> None:
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        self._names = [spec.name for spec in payload.part.outputs]
        payload.check()
        self._plan = BuildPlan.load(payload.folder / PLAN)
        self._session: Any = load(self._graph(payload.folder / GRAPH))

    @property
    def precision(self) -> Precision:
        """Return the precision that was requested: only the device can report what an engine's layers run in."""
        kinds = self._plan.precision.split("+")
        words = []
        if any(kind.startswith(("i8", "i4", "f8", "f4")) for kind in kinds):
            words.append("Q/DQ pairs rounded, and their products were summed in float")
        words += [f"operators were rounded to {kind} after f32 sums" for kind in kinds if kind in ("f16", "bf16")]
        main = kinds[0] if kinds[0] in ("f32", "f16", "bf16", "i8") else "f32"
        return Precision(main, emulated="; ".join(words))

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run once; the outputs belong to the caller."""
        session = self._open_session()
        check_feeds(self.inputs, feeds)
        try:
            outputs = session.run(self._names, dict(feeds))
        except Exception as error:
            raise UsageError(
                f"the model fails on these inputs: {error}", hint="check the values and sizes of the inputs"
            ) from error
        return dict(zip(self._names, outputs, strict=True))

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call that runs the graph here; its time is not the device's."""
        self.run(feeds)
        copies = {name: array.copy() for name, array in feeds.items()}

        def bound() -> None:
            self._open_session().run(self._names, copies)

        return bound

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        """Raise UnsupportedError: layers are timed on the device."""
        raise UnsupportedError("layers are timed on the device; this machine only checks outputs.")

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._session = None

    def _graph(self, path: Path) -> Path | bytes:
        """Return the graph to run: the file, or its bytes with explicit rounding of f16 and bf16."""
        if set(self._plan.precision.split("+")).isdisjoint(("f16", "bf16")):
            return path
        from edgekit_tensorrt.emulate import with_explicit_rounding

        return with_explicit_rounding(path) or path

    def _open_session(self) -> Any:
        if self._session is None:
            raise UsageError("the session is closed.", hint="open the bundle again")
        return self._session


def load(model: Path | bytes) -> Any:
    """Return an InferenceSession on the processor. Raises EnvironmentFault without onnxruntime, ArtifactError for a
    graph that it cannot read, UnsupportedError for one with operators that its CPU kernels lack.
    """
    no_telemetry()
    try:
        import onnxruntime as ort
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(
            f"outputs are checked on onnxruntime, which cannot be imported: {error}.", hint="pip install onnxruntime"
        ) from error
    settings = ort.SessionOptions()
    settings.log_severity_level = 4
    settings.add_session_config_entry("session.disable_quant_qdq", "1")
    try:
        return ort.InferenceSession(model if isinstance(model, bytes) else str(model), settings, providers=[CPU])
    except Exception as error:
        message = str(error)
        if "NOT_IMPLEMENTED" in message or "not a registered" in message or "under development" in message:
            raise UnsupportedError(
                f"the graph cannot be checked here; ONNX Runtime lacks a CPU kernel for a part of it: {message}",
                hint="choose another recipe, or pip install --upgrade onnxruntime",
            ) from error
        raise ArtifactError(f"'{GRAPH}' cannot be loaded: {error}", hint="copy or export the bundle again") from error
