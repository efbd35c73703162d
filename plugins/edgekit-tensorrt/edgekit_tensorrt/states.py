"""States as buffers on the device: what one call writes is an input of the next, and is not copied between them.

Only what is fed and returned is copied between host and device. This was run on stubs of the driver and of TensorRT's
module, never on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.plugin import Part
from edgekit_tensorrt.binding import DTYPES, LoadedEngine, run_fault, set_input_shape, sized
from edgekit_tensorrt.cuda import Cuda

if TYPE_CHECKING:
    import numpy as np

LEAST_BYTES = 256


class StateMemory:
    """The device memory of all states of a session. What a state no longer needs, another takes: allocating waits for
    the device.
    """

    def __init__(self, driver: Cuda, stream: int, in_turn: Callable[[], AbstractContextManager[None]]) -> None:
        self.driver = driver
        self.stream = stream
        self.in_turn = in_turn
        self._free: dict[int, list[int]] = {}
        self._allocated: list[int] = []

    def take(self, size: int) -> tuple[int, int]:
        """Return the address of a buffer of at least `size` bytes, and its capacity."""
        capacity = max(LEAST_BYTES, 1 << (size - 1).bit_length() if size else 0)
        try:
            return self._free.setdefault(capacity, []).pop(), capacity
        except IndexError:
            address = self.driver.allocate(capacity)
            self._allocated.append(address)
            return address, capacity

    def give(self, address: int, capacity: int) -> None:
        """Take a buffer back. It makes no call to the driver: a state may end in any thread."""
        if capacity in self._free:  # else it is released already
            self._free[capacity].append(address)

    def release(self) -> None:
        """Free all of it; states that are left have no values any more."""
        while self._allocated:
            self.driver.free(self._allocated.pop())
        self._free = {}


class Kept:
    """A state: a buffer on the device, its shape and its type."""

    def __init__(self, memory: StateMemory, shape: Sequence[int], dtype: np.dtype[Any]) -> None:
        import numpy as np

        self.shape = tuple(shape)
        self.dtype = dtype
        self.nbytes = int(np.prod(self.shape, dtype=np.int64)) * dtype.itemsize
        self._memory = memory
        self._capacity = 0
        self.address, self._capacity = memory.take(self.nbytes)

    def __del__(self) -> None:
        if self._capacity:
            self._memory.give(self.address, self._capacity)

    def take(self, order: Sequence[int], axis: int = 0) -> Kept:
        """Return a state of its rows `order`, copied on the device."""
        if axis != 0:
            raise UsageError(f"the axis {axis} of a state on the device cannot be taken.", hint="take rows: axis=0")
        memory, driver = self._memory, self._memory.driver
        row = self.nbytes // self.shape[0] if self.shape[0] else 0
        with memory.in_turn():
            taken = Kept(memory, (len(order), *self.shape[1:]), self.dtype)
            for place, index in enumerate(order):
                driver.copy(taken.address + place * row, self.address + int(index) * row, row, memory.stream)
            driver.synchronize(memory.stream)
        return taken

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        array, memory = np.empty(self.shape, self.dtype), self._memory
        with memory.in_turn():
            memory.driver.to_host(array.ctypes.data, self.address, self.nbytes, memory.stream)
            memory.driver.synchronize(memory.stream)
        return array if dtype is None else array.astype(dtype)


class Stepping:
    """A context whose tensors are set anew at each call: states grow, and each has a buffer of its own."""

    def __init__(self, loaded: LoadedEngine, context: Any, part: Part, memory: StateMemory) -> None:
        self._loaded = loaded
        self._context = context
        self._part = part
        self._memory = memory

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Run once: read and write `states`, and return the other outputs. The caller has the turn."""
        import numpy as np

        context, driver, stream = self._context, self._loaded.driver, self._loaded.stream
        # The copies are asynchronous: the arrays are kept until they are over.
        fed = {name: np.ascontiguousarray(array) for name, array in feeds.items()}
        started = {name: states[name] for name in self._part.reads.values() if not isinstance(states[name], Kept)}
        started = {name: np.ascontiguousarray(array) for name, array in started.items()}
        inputs = {name: self._on_device(array) for name, array in fed.items()}
        states.update({name: self._on_device(array) for name, array in started.items()})
        inputs |= {name: states[state] for name, state in self._part.reads.items()}
        for name, kept in inputs.items():
            set_input_shape(self._loaded, context, name, kept.shape)
            context.set_tensor_address(name, kept.address)
        written = {spec.name: self._output(spec.name) for spec in self._part.outputs}
        for name, kept in written.items():
            context.set_tensor_address(name, kept.address)
        if not context.execute_async_v3(stream):
            raise run_fault(self._loaded)
        outputs = {name: np.empty(kept.shape, kept.dtype) for name, kept in written.items() if not self._keeps(name)}
        for name, array in outputs.items():
            driver.to_host(array.ctypes.data, written[name].address, array.nbytes, stream)
        driver.synchronize(stream)
        states.update({state: written[name] for name, state in self._part.writes.items()})
        return outputs

    def _keeps(self, name: str) -> bool:
        return name in self._part.writes

    def _output(self, name: str) -> Kept:
        import numpy as np

        dtype = np.dtype(DTYPES[self._loaded.engine.get_tensor_dtype(name).name])
        return Kept(self._memory, sized(self._context, name), dtype)

    def _on_device(self, array: np.ndarray) -> Kept:
        kept = Kept(self._memory, array.shape, array.dtype)
        self._loaded.driver.to_device(kept.address, array.ctypes.data, kept.nbytes, self._loaded.stream)
        return kept
