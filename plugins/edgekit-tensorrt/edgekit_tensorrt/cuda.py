"""The few CUDA calls that a session needs, by ctypes on the driver's own library: no toolkit, no framework.

Every Jetson and every machine with an NVIDIA driver has `libcuda.so.1`; the runtime library comes with a toolkit that
may be absent. A fault is an EdgekitError with CUDA's name for it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from edgekit.errors import DeviceError, EdgekitError, EnvironmentFault

LIBRARIES = ("libcuda.so.1", "libcuda.so")

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, INTEGRATED = 75, 76, 18
"""CUdevice_attribute, in cuda.h."""

CAPTURE_THREAD_LOCAL = 1
"""CUstreamCaptureMode: what other threads of the process do is no part of the graph."""

_HINTS = {
    "CUDA_ERROR_NO_DEVICE": "no NVIDIA GPU is visible: start a container with `--gpus all` or `--runtime nvidia`",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was updated and not loaded yet: reboot this machine",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "the CUDA compatibility package does not fit this GPU: remove it",
    "CUDA_ERROR_OUT_OF_MEMORY": "close other programs, or give a smaller model, batch or workspace",
    "CUDA_ERROR_DEVICES_UNAVAILABLE": "another process has the GPU for itself: end it, or wait",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "the engine read memory that is not its own: finish the bundle again on this device",
    "CUDA_ERROR_LAUNCH_FAILED": "the engine crashed on the GPU: finish the bundle again on this device",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the engine has no kernel for this GPU: finish the bundle again on this device",
}


class Cuda:
    """The driver, with the first GPU's primary context: the one that TensorRT uses too.

    Raises EnvironmentFault where there is no driver or no GPU. `library` stands in for the driver's in tests.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = _load() if library is None else library
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._context: ctypes.c_void_p | None = None

    # What the device is

    @property
    def sm(self) -> str:
        """Return the compute capability, as `8.7`."""
        return f"{self._attribute(COMPUTE_CAPABILITY_MAJOR)}.{self._attribute(COMPUTE_CAPABILITY_MINOR)}"

    @property
    def integrated(self) -> bool:
        """Return whether the GPU shares the processor's memory, as a Jetson's does."""
        return bool(self._attribute(INTEGRATED))

    @property
    def name(self) -> str:
        text = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", text, len(text), self._device)
        return text.value.decode(errors="replace")

    @property
    def driver(self) -> str:
        """Return the CUDA version that the driver serves, as `12.6`."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def _attribute(self, which: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), which, self._device)
        return value.value

    # Context and memory

    def enter(self) -> None:
        """Retain the primary context and make it current in this thread."""
        if self._context is None:
            context = ctypes.c_void_p()
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
            self._context = context
        self._call("cuCtxSetCurrent", self._context)

    def leave(self) -> None:
        """Release the primary context; safe to call twice."""
        if self._context is not None:
            self._context = None
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes on the device; nothing is still an address of its own."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def allocate_host(self, size: int) -> int:
        """Return the address of `size` bytes of page-locked host memory: copies from others are not asynchronous."""
        pointer = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)), 0)
        return pointer.value or 0

    def free_host(self, pointer: int) -> None:
        self._call("cuMemFreeHost", ctypes.c_void_p(pointer))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        to, at = ctypes.c_uint64(device), ctypes.c_void_p(host)
        if size:
            self._call("cuMemcpyHtoDAsync_v2", to, at, ctypes.c_size_t(size), ctypes.c_void_p(stream))

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        to, at = ctypes.c_void_p(host), ctypes.c_uint64(device)
        if size:
            self._call("cuMemcpyDtoHAsync_v2", to, at, ctypes.c_size_t(size), ctypes.c_void_p(stream))

    # Streams and graphs

    def stream(self) -> int:
        """Make a stream that does not wait for the default one."""
        made = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(made), 1)
        return made.value or 0

    def destroy_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def synchronizer(self, stream: int) -> Callable[[], None]:
        """Return `synchronize` with its argument converted once, for a call that is timed."""
        wait, handle = self._function("cuStreamSynchronize"), ctypes.c_void_p(stream)

        def synchronize() -> None:
            if code := wait(handle):
                raise self._fault(code, "cuStreamSynchronize")

        return synchronize

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what `work` puts on the stream, and give the executable graph; raises what a capture refuses."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            work()
        finally:  # a stream whose capture is not ended takes no work any more
            ended = self._function("cuStreamEndCapture")(ctypes.c_void_p(stream), ctypes.byref(graph))
        if ended:
            raise self._fault(ended, "cuStreamEndCapture")
        made = ctypes.c_void_p()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(made), graph, ctypes.c_uint64(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return made.value or 0

    def launcher(self, graph: int, stream: int) -> Callable[[], None]:
        """Return a call that launches an executable graph."""
        launch, handle, on = self._function("cuGraphLaunch"), ctypes.c_void_p(graph), ctypes.c_void_p(stream)

        def start() -> None:
            if code := launch(handle, on):
                raise self._fault(code, "cuGraphLaunch")

        return start

    def destroy_graph(self, graph: int) -> None:
        self._call("cuGraphExecDestroy", ctypes.c_void_p(graph))

    # Faults

    def _function(self, name: str) -> Any:
        try:
            return getattr(self._library, name)
        except AttributeError as error:
            raise EnvironmentFault(
                f"the NVIDIA driver is too old: it has no {name}.", hint="update the driver (CUDA 11.4 or newer)"
            ) from error

    def _call(self, name: str, *arguments: Any) -> None:
        if code := self._function(name)(*arguments):
            raise self._fault(code, name)

    def _fault(self, code: int, call: str) -> EdgekitError:
        text = ctypes.c_char_p()
        name = f"CUDA error {code}"
        if self._library.cuGetErrorName(code, ctypes.byref(text)) == 0 and text.value:
            name = text.value.decode()
        kind = EnvironmentFault if call in ("cuInit", "cuDeviceGet") else DeviceError
        hint = _HINTS.get(name, "`edgekit doctor` checks the GPU; `nvidia-smi` or `tegrastats` shows it")
        return kind(f"the GPU refused {call}: {name}.", hint=hint, cuda_error=name)


def driver() -> Cuda:
    """Return the driver. Raises EnvironmentFault where there is none: TensorRT must not be asked for anything then, as
    its runtime crashes without a driver (seen in 10.x).
    """
    return Cuda()


def _load() -> Any:
    causes = []
    for name in LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            causes.append(str(error))
    raise EnvironmentFault(
        f"there is no NVIDIA driver here: {causes[0]}.",
        hint="run this on the device; in a container, start it with `--runtime nvidia` or `--gpus all`",
    )
