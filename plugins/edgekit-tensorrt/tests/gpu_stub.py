"""Stubs of a driver and of TensorRT's module, for tests without a GPU: they copy real bytes and compute a real product.

They test the plugin's own work (order of copies, buffers, captures, what is freed), not TensorRT or CUDA.
"""

from __future__ import annotations

import ctypes
import types
from collections.abc import Callable

import numpy as np

NO_DEVICE, INVALID = 100, 1
NAMES = {NO_DEVICE: b"CUDA_ERROR_NO_DEVICE", INVALID: b"CUDA_ERROR_INVALID_VALUE", 2: b"CUDA_ERROR_OUT_OF_MEMORY"}


class Driver:
    """The functions of libcuda that `edgekit_tensorrt.cuda` calls."""

    def __init__(self, sm: tuple[int, int] = (8, 7), fails: dict[str, int] | None = None) -> None:
        self.sm, self.fails = sm, fails or {}
        self.memory: dict[int, ctypes.Array] = {}
        self.calls: list[str] = []
        self.capturing: list[Callable[[], None]] | None = None
        self.graphs: dict[int, list[Callable[[], None]]] = {}
        self.streams = self.contexts = 0

    def __getattribute__(self, name: str):
        attribute = super().__getattribute__(name)
        if not name.startswith("cu"):
            return attribute

        def call(*arguments):
            self.calls.append(name)
            return self.fails.get(name) or attribute(*arguments) or 0

        return call

    def enqueue(self, work: Callable[[], None]) -> None:
        if self.capturing is not None:
            self.capturing.append(work)
        else:
            work()

    def cuInit(self, flags): ...

    def cuDeviceGet(self, device, index): ...

    def cuDeviceGetAttribute(self, value, which, device):
        value._obj.value = {75: self.sm[0], 76: self.sm[1], 18: 1}[which]

    def cuDeviceGetName(self, text, size, device):
        text.value = b"Orin"

    def cuDriverGetVersion(self, version):
        version._obj.value = 12060

    def cuDevicePrimaryCtxRetain(self, context, device):
        self.contexts += 1
        context._obj.value = 1

    def cuDevicePrimaryCtxRelease_v2(self, device):
        self.contexts -= 1

    def cuCtxSetCurrent(self, context): ...

    def cuMemAlloc_v2(self, pointer, size):
        buffer = ctypes.create_string_buffer(size.value)
        self.memory[ctypes.addressof(buffer)] = buffer
        pointer._obj.value = ctypes.addressof(buffer)

    def cuMemHostAlloc(self, pointer, size, flags):
        return self.cuMemAlloc_v2(pointer, size)

    def cuMemFree_v2(self, pointer):
        del self.memory[pointer.value]

    def cuMemFreeHost(self, pointer):
        del self.memory[pointer.value]

    def cuMemcpyHtoDAsync_v2(self, to, at, size, stream):
        self.enqueue(lambda: ctypes.memmove(to.value, at.value, size.value))

    def cuMemcpyDtoHAsync_v2(self, to, at, size, stream):
        self.enqueue(lambda: ctypes.memmove(to.value, at.value, size.value))

    def cuMemcpyDtoDAsync_v2(self, to, at, size, stream):
        self.enqueue(lambda: ctypes.memmove(to.value, at.value, size.value))

    def cuStreamCreate(self, stream, flags):
        self.streams += 1
        stream._obj.value = 77

    def cuStreamDestroy_v2(self, stream):
        self.streams -= 1

    def cuStreamSynchronize(self, stream): ...

    def cuStreamBeginCapture_v2(self, stream, mode):
        self.capturing = []

    def cuStreamEndCapture(self, stream, graph):
        graph._obj.value = 500 + len(self.graphs)
        self.graphs[graph._obj.value], self.capturing = self.capturing, None

    def cuGraphInstantiateWithFlags(self, executable, graph, flags):
        executable._obj.value = graph.value + 1000
        self.graphs[executable._obj.value] = self.graphs[graph.value]

    def cuGraphDestroy(self, graph):
        del self.graphs[graph.value]

    def cuGraphExecDestroy(self, graph):
        del self.graphs[graph.value]

    def cuGraphLaunch(self, graph, stream):
        for work in self.graphs[graph.value]:
            work()

    def cuGetErrorName(self, code, text):
        text._obj.value = NAMES.get(code)


INFORMATION = """{"Layers": [{"Name": "product", "LayerType": "gemm",
"Inputs": [{"Name": "x", "Format/Datatype": "Half"}],
"Outputs": [{"Name": "y", "Format/Datatype": "Half"}], "Weights": {"Type": "Half", "Count": 12}}]}"""


def tensorrt(driver: Driver, weights: np.ndarray, *, version: str = "10.3.0", most: int = 8, unsized: bool = False):
    """Return a module whose one engine multiplies x [N, 4] by `weights` [4, 3], for at most `most` rows."""

    class Context:
        profiler = None

        def __init__(self) -> None:
            self.rows, self.addresses = -1, {}

        def set_input_shape(self, name, shape):
            self.rows = shape[0]
            return 1 <= shape[0] <= most and shape[1:] == (4,)

        def get_tensor_shape(self, name):
            return (self.rows, 4) if name == "x" else (-1 if unsized else self.rows, 3)

        def set_tensor_address(self, name, address):
            self.addresses[name] = address
            return True

        def execute_async_v3(self, stream):
            rows, addresses = self.rows, dict(self.addresses)

            def multiply() -> None:
                memory = (ctypes.c_char * (rows * 16)).from_address(addresses["x"])
                y = (np.frombuffer(memory, np.float32).reshape(rows, 4) @ weights).astype(np.float32)
                ctypes.memmove(addresses["y"], y.ctypes.data, y.nbytes)

            driver.enqueue(multiply)
            if self.profiler is not None:
                self.profiler.report_layer_time("product", 0.25)
            return True

    class Inspector:
        execution_context = None

        def get_engine_information(self, kind):
            return INFORMATION

    class Engine:
        num_io_tensors = 2

        def get_tensor_name(self, index):
            return ("x", "y")[index]

        def get_tensor_mode(self, name):
            return "input" if name == "x" else "output"

        def get_tensor_dtype(self, name):
            return types.SimpleNamespace(name="FLOAT")

        def create_execution_context(self):
            return Context()

        def create_engine_inspector(self):
            return Inspector()

    class Runtime:
        def __init__(self, log) -> None:
            self.log = log

        def deserialize_cuda_engine(self, data):
            if data.startswith(b"engine"):
                return Engine()
            self.log.log(types.SimpleNamespace(name="ERROR"), "magic tag does not match")
            return None

    return types.SimpleNamespace(
        __version__=version,
        ILogger=type("ILogger", (), {}),
        IProfiler=type("IProfiler", (), {}),
        Runtime=Runtime,
        TensorIOMode=types.SimpleNamespace(INPUT="input", OUTPUT="output"),
        LayerInformationFormat=types.SimpleNamespace(JSON="json"),
    )
