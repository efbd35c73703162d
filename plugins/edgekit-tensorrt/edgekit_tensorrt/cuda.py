"""The few CUDA calls that a session needs, with ctypes on the driver's library: no toolkit, no framework.

Every Jetson and every machine with an NVIDIA driver has `libcuda.so.1`; the runtime library is part of a toolkit that
may be missing. A fault is an EdgekitError with CUDA's name of it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from edgekit.errors import DeviceError, EdgekitError, EnvironmentFault

LIBRARIES = ("libcuda.so.1", "libcuda.so")

COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR, INTEGRATED = 75, 76, 18
"""CUdevice_attribute in cuda.h."""

CAPTURE_THREAD_LOCAL = 1
"""CUstreamCaptureMode: the work of other threads of the process is not part of the graph."""

_HINTS = {
    "CUDA_ERROR_NO_DEVICE": "no NVIDIA GPU is visible: start a container with `--gpus all` or `--runtime nvidia`",
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH": "the driver was updated and not loaded yet: reboot this machine",
    "CUDA_ERROR_COMPAT_NOT_SUPPORTED_ON_DEVICE": "the CUDA compatibility package does not fit this GPU: remove it",
    "CUDA_ERROR_OUT_OF_MEMORY": "close other programs, or use a smaller model, batch or workspace",
    "CUDA_ERROR_DEVICES_UNAVAILABLE": "another process uses the GPU exclusively: stop it, or wait",
    "CUDA_ERROR_ILLEGAL_ADDRESS": "the engine read memory outside its own: finish the bundle again on this device",
    "CUDA_ERROR_LAUNCH_FAILED": "the engine crashed on the GPU: finish the bundle again on this device",
    "CUDA_ERROR_NO_BINARY_FOR_GPU": "the engine has no kernel for this GPU: finish the bundle again on this device",
}


class Cuda:
    """The driver, with the first GPU's primary context, which TensorRT uses too.

    Raises EnvironmentFault without a driver or a GPU. Tests give a stub of the driver's `library`.
    """

    def __init__(self, library: Any = None) -> None:
        self._library = _load() if library is None else library
        self._call("cuInit", 0)
        device = ctypes.c_int()
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._device = device.value
        self._context: ctypes.c_void_p | None = None

    # The device

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
        """Return the CUDA version that the driver supports, as `12.6`."""
        version = ctypes.c_int()
        self._call("cuDriverGetVersion", ctypes.byref(version))
        return f"{version.value // 1000}.{version.value % 1000 // 10}"

    def _attribute(self, attribute: int) -> int:
        value = ctypes.c_int()
        self._call("cuDeviceGetAttribute", ctypes.byref(value), attribute, self._device)
        return value.value

    # Context and memory

    def retain_context(self) -> None:
        """Retain the primary context and make it current in this thread."""
        if self._context is None:
            context = ctypes.c_void_p()
            self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), self._device)
            self._context = context
        self._call("cuCtxSetCurrent", self._context)

    def release_context(self) -> None:
        """Release the primary context; safe to call twice."""
        if self._context is not None:
            self._context = None
            self._call("cuDevicePrimaryCtxRelease_v2", self._device)

    def allocate(self, size: int) -> int:
        """Return the address of `size` bytes on the device; for 0 bytes too it is a unique address."""
        pointer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)))
        return pointer.value

    def free(self, pointer: int) -> None:
        self._call("cuMemFree_v2", ctypes.c_uint64(pointer))

    def allocate_host(self, size: int) -> int:
        """Return the address of `size` bytes of page-locked host memory: only its copies are asynchronous."""
        pointer = ctypes.c_void_p()
        self._call("cuMemHostAlloc", ctypes.byref(pointer), ctypes.c_size_t(max(size, 1)), 0)
        return pointer.value or 0

    def free_host(self, pointer: int) -> None:
        self._call("cuMemFreeHost", ctypes.c_void_p(pointer))

    def to_device(self, device: int, host: int, size: int, stream: int) -> None:
        target, source = ctypes.c_uint64(device), ctypes.c_void_p(host)
        if size:
            self._call("cuMemcpyHtoDAsync_v2", target, source, ctypes.c_size_t(size), ctypes.c_void_p(stream))

    def to_host(self, host: int, device: int, size: int, stream: int) -> None:
        target, source = ctypes.c_void_p(host), ctypes.c_uint64(device)
        if size:
            self._call("cuMemcpyDtoHAsync_v2", target, source, ctypes.c_size_t(size), ctypes.c_void_p(stream))

    def copy(self, to: int, at: int, size: int, stream: int) -> None:
        """Copy on the device."""
        target, source = ctypes.c_uint64(to), ctypes.c_uint64(at)
        if size:
            self._call("cuMemcpyDtoDAsync_v2", target, source, ctypes.c_size_t(size), ctypes.c_void_p(stream))

    # Streams and graphs

    def stream(self) -> int:
        """Create a stream that does not wait for the default stream, and return its handle."""
        handle = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(handle), 1)
        return handle.value or 0

    def destroy_stream(self, stream: int) -> None:
        self._call("cuStreamDestroy_v2", ctypes.c_void_p(stream))

    def synchronize(self, stream: int) -> None:
        self._call("cuStreamSynchronize", ctypes.c_void_p(stream))

    def synchronizer(self, stream: int) -> Callable[[], None]:
        """Return `synchronize` for one stream, its argument converted once: for a call that is timed."""
        wait, handle = self._function("cuStreamSynchronize"), ctypes.c_void_p(stream)

        def synchronize() -> None:
            if code := wait(handle):
                raise self._fault(code, "cuStreamSynchronize")

        return synchronize

    def capture(self, stream: int, work: Callable[[], None]) -> int:
        """Record what `work` puts on the stream, and return the executable graph; raises what cannot be captured."""
        self._call("cuStreamBeginCapture_v2", ctypes.c_void_p(stream), CAPTURE_THREAD_LOCAL)
        graph = ctypes.c_void_p()
        try:
            work()
        finally:  # a stream whose capture has not ended accepts no other work
            code = self._function("cuStreamEndCapture")(ctypes.c_void_p(stream), ctypes.byref(graph))
        if code:
            raise self._fault(code, "cuStreamEndCapture")
        executable = ctypes.c_void_p()
        try:
            self._call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_uint64(0))
        finally:
            self._call("cuGraphDestroy", graph)
        return executable.value or 0

    def launcher(self, graph: int, stream: int) -> Callable[[], None]:
        """Return a call that launches an executable graph."""
        launch, graph_handle = self._function("cuGraphLaunch"), ctypes.c_void_p(graph)
        stream_handle = ctypes.c_void_p(stream)

        def start() -> None:
            if code := launch(graph_handle, stream_handle):
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
        hint = _HINTS.get(name, "check the GPU with `edgekit doctor`, and with `nvidia-smi` or `tegrastats`")
        return kind(f"the CUDA call {call} failed: {name}.", hint=hint, cuda_error=name)


def driver() -> Cuda:
    """Return the driver. Raises EnvironmentFault where there is none: TensorRT must not be called then, as its runtime
    crashes without a driver (seen in 10.x).
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
        f"this machine has no NVIDIA driver: {causes[0]}.",
        hint="run this on the device; in a container, start it with `--runtime nvidia` or `--gpus all`",
    )
