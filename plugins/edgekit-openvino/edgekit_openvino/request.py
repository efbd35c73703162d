"""An inference request and the memory of its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


class Request:
    """An inference request with the memory of its inputs, for one call at a time."""

    def __init__(self, request: Any, ports: Sequence[tuple[str, int]], tensor: Any) -> None:
        self.infer = request.infer
        self._request = request
        self._ports = ports
        self._tensor = tensor
        self._buffers: dict[str, np.ndarray] = {}

    def set_inputs(self, feeds: Mapping[str, np.ndarray]) -> None:
        """Copy the feeds into memory shared with the request: a new tensor costs more than copying a small one."""
        import numpy as np

        for name, port in self._ports:
            array = feeds[name]
            buffer = self._buffers.get(name)
            if buffer is None or buffer.shape != array.shape:
                buffer = self._buffers[name] = np.empty(array.shape, array.dtype)
                self._request.set_input_tensor(port, self._tensor(buffer, shared_memory=True))
            np.copyto(buffer, array)

    def forget_inputs(self) -> None:
        self._buffers.clear()

    def profile(self) -> Any:
        """Return the times of the last inference's layers."""
        return self._request.profiling_info
