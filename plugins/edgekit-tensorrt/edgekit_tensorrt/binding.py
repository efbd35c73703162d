"""The host and device buffers for one set of sizes, and the complete inference on them."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import EdgekitError, UnsupportedError, UsageError
from edgekit_tensorrt import cuda

if TYPE_CHECKING:
    import numpy as np

DTYPES = {
    "FLOAT": "float32", "HALF": "float16", "INT8": "int8", "INT32": "int32", "INT64": "int64", "BOOL": "bool",
    "UINT8": "uint8",
}  # fmt: skip
"""TensorRT's name of a type, and numpy's; numpy has no bf16."""


@dataclass(frozen=True)
class LoadedEngine:
    """An open engine with the driver and stream that its bindings share."""

    trt: Any
    engine: Any
    driver: cuda.Cuda
    stream: int
    reasons: Callable[[], str]
    """Returns TensorRT's last error messages."""


def set_input_shape(loaded: LoadedEngine, context: Any, name: str, shape: tuple[int, ...]) -> None:
    """Set an input's shape. Raises UsageError for one that the engine does not have."""
    if not context.set_input_shape(name, shape):
        raise UsageError(
            f"the input '{name}' cannot have the shape {list(shape)}: {loaded.reasons()}.",
            hint="use sizes within the range that the bundle was exported for",
        )


def sized(context: Any, name: str) -> tuple[int, ...]:
    """Return a tensor's shape, for which a buffer can be allocated."""
    shape = tuple(context.get_tensor_shape(name))
    if any(size < 0 for size in shape):
        raise UnsupportedError(
            f"the size of the output '{name}' depends on the values of the inputs: no buffer can be allocated.",
            hint="export the model without its last selection (non-maximum suppression), and select on the CPU",
        )
    return shape


def run_fault(loaded: LoadedEngine) -> UsageError:
    """Return the error for an inference that TensorRT refused."""
    return UsageError(
        f"the model fails on these inputs: {loaded.reasons()}", hint="check the values and sizes of the inputs"
    )


class Binding:
    """Buffers for one set of sizes on host and device, and a context that uses them."""

    def __init__(self, loaded: LoadedEngine, context: Any, sizes: Mapping[str, tuple[int, ...]]) -> None:
        self.sizes = dict(sizes)
        self.context: Any = context
        self.graph = 0
        self.outputs: dict[str, np.ndarray] = {}
        self._inputs: dict[str, np.ndarray] = {}
        self._loaded = loaded
        self._pinned: list[int] = []
        self._device: list[int] = []
        self._uploads: list[tuple[int, int, int]] = []
        self._downloads: list[tuple[int, int, int]] = []
        self._wait = loaded.driver.synchronizer(loaded.stream)
        try:
            self._allocate()
        except BaseException:
            self.free()
            raise

    def set_inputs(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the feeds into page-locked memory."""
        import numpy as np

        for name, buffer in self._inputs.items():
            np.copyto(buffer, feeds[name])

    def infer(self) -> None:
        """Copy in, run, copy out, wait."""
        self._enqueue()
        self._wait()

    def as_graph(self) -> Callable[[], None] | None:
        """Return a call that launches it as one CUDA graph; None where the engine cannot be captured, or the captured
        graph gives other outputs.
        """
        driver, stream = self._loaded.driver, self._loaded.stream
        capturable = getattr(self.context, "is_stream_capturable", None)
        if capturable is not None and not capturable(stream):
            return None
        expected = {name: array.copy() for name, array in self.outputs.items()}
        try:
            self.graph = driver.capture(stream, self._enqueue)
        except EdgekitError:  # loops and host work cannot be captured: then each inference is enqueued
            return None
        start, wait = driver.launcher(self.graph, stream), self._wait

        def launch() -> None:
            start()
            wait()

        launch()
        if not all(_equal(array, expected[name]) for name, array in self.outputs.items()):
            driver.destroy_graph(self.graph)
            self.graph = 0
            return None
        return launch

    def free(self) -> None:
        """Release everything; safe to call twice."""
        driver = self._loaded.driver
        if self.graph:
            driver.destroy_graph(self.graph)
            self.graph = 0
        self.context = None
        self.outputs, self._inputs = {}, {}
        while self._device:
            driver.free(self._device.pop())
        while self._pinned:
            driver.free_host(self._pinned.pop())

    def _enqueue(self) -> None:
        driver, stream = self._loaded.driver, self._loaded.stream
        for device, host, size in self._uploads:
            driver.to_device(device, host, size, stream)
        if not self.context.execute_async_v3(stream):
            raise run_fault(self._loaded)
        for device, host, size in self._downloads:
            driver.to_host(host, device, size, stream)

    def _allocate(self) -> None:
        trt, engine = self._loaded.trt, self._loaded.engine
        for name, size in self.sizes.items():
            set_input_shape(self._loaded, self.context, name, size)
        for index in range(engine.num_io_tensors):
            name = engine.get_tensor_name(index)
            array, host, device = self._buffer(name, sized(self.context, name))
            self.context.set_tensor_address(name, device)
            if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                self._inputs[name] = array
                self._uploads.append((device, host, array.nbytes))
            else:
                self.outputs[name] = array
                self._downloads.append((device, host, array.nbytes))

    def _buffer(self, name: str, shape: tuple[int, ...]) -> tuple[np.ndarray, int, int]:
        """Return a page-locked array, its address, and the address of as much memory on the device."""
        import numpy as np

        driver, kind = self._loaded.driver, self._loaded.engine.get_tensor_dtype(name).name
        if kind not in DTYPES:
            raise UnsupportedError(
                f"the tensor '{name}' is {kind}, which numpy does not support.",
                hint="export the model with f32 inputs and outputs",
            )
        dtype = np.dtype(DTYPES[kind])
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        address = driver.allocate_host(size)
        self._pinned.append(address)
        device = driver.allocate(size)
        self._device.append(device)
        memory: Any = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(memory, dtype=dtype).reshape(shape), address, device


def _equal(a: np.ndarray, b: np.ndarray) -> bool:
    import numpy as np

    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))
