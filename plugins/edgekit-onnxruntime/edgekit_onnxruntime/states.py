"""States that a session keeps: what one call writes is an input of the next, and is not copied between them.

On a processor they are arrays, whose memory the runtime borrows and hands over; on a GPU they stay there, as values of
the runtime.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.plugin import Part

if TYPE_CHECKING:
    import numpy as np

_DEVICES = {"CUDAExecutionProvider": "cuda", "TensorrtExecutionProvider": "cuda"}
"""Where a provider keeps its values; those of the others are in the processor's memory."""


class Kept:
    """A state in the memory of its device: an OrtValue."""

    __slots__ = ("_ort", "value")

    def __init__(self, ort: Any, value: Any) -> None:
        self._ort = ort
        self.value = value

    def take(self, order: Sequence[int], axis: int = 0) -> Kept:
        """Return a state of its rows `order`, in the same memory."""
        import numpy as np

        device, value = self.value.device_name(), self.value
        # A view of the processor's memory; that of another device is copied here and back.
        is_view = device == "cpu" and hasattr(value, "__dlpack__")
        array = np.from_dlpack(value) if is_view else value.numpy()
        return Kept(self._ort, self._ort.OrtValue.ortvalue_from_numpy(np.take(array, order, axis), device))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        return np.asarray(self.value.numpy(), dtype)


def on_device(session: Any) -> str | None:
    """Return the device that keeps the states of a session; None for the processor."""
    return _DEVICES.get(session.get_providers()[0])


def step(
    ort: Any, session: Any, part: Part, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any], device: str
) -> dict[str, np.ndarray]:
    """Run a part once and return the outputs that are not states. A binding holds the outputs of one call only: those
    of the call before are read while it runs.
    """
    import numpy as np

    binding = session.io_binding()
    for name, state in part.reads.items():
        if not isinstance(states[state], Kept):
            value = ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(states[state]), device)
            states[state] = Kept(ort, value)
        binding.bind_ortvalue_input(name, states[state].value)
    # A value borrows the array's memory: `fed` holds it until the run is over.
    fed = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
    for name, array in fed.items():
        binding.bind_cpu_input(name, array)
    for spec in part.outputs:
        binding.bind_output(spec.name, device if spec.name in part.writes else "cpu")
    session.run_with_iobinding(binding)
    values = dict(zip([spec.name for spec in part.outputs], binding.get_outputs(), strict=True))
    for name, state in part.writes.items():
        states[state] = Kept(ort, values.pop(name))
    return {name: value.numpy() for name, value in values.items()}


def step_on_processor(
    session: Any, names: Sequence[str], part: Part, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]
) -> dict[str, np.ndarray]:
    """Run a part once with its states as arrays: `run` borrows the memory of those that it is given, and hands over
    that of its outputs. Binding each of them takes longer than a small decoder's arithmetic.
    """
    read = {name: states[state] for name, state in part.reads.items()}
    values = dict(zip(names, session.run(names, {**feeds, **read}), strict=True))
    for name, state in part.writes.items():
        states[state] = values.pop(name)
    return values
