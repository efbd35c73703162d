"""The tiny model that backends are tested with: one linear layer, its correct outputs, and building it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from edgekit.model import Model
from edgekit.plugin import Backend, Built
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import Device, Target

if TYPE_CHECKING:
    import numpy as np


def linear_weight() -> np.ndarray:
    """Return the [4,3] weight of the tiny model `y = x @ weight + bias`."""
    import numpy as np

    return np.linspace(-1, 1, 12, dtype=np.float32).reshape(4, 3)


def linear_bias() -> np.ndarray:
    """Return the [3] bias of the tiny model."""
    import numpy as np

    return np.array([0.5, -0.25, 0.125], dtype=np.float32)


class LinearModel:
    """The model, its feeds and the correct outputs; a backend's tests override what differs."""

    inputs: ClassVar[tuple[TensorSpec, ...]] = (TensorSpec("x", "f32", ("N", 4)),)
    outputs: ClassVar[tuple[TensorSpec, ...]] = (TensorSpec("y", "f32", ("N", 3)),)
    tolerance: ClassVar[float] = 1e-5
    off_target: ClassVar[bool] = False
    """Whether payloads are opened off target: their device is not this machine."""

    def model(self, folder: Path) -> Model:
        """Write the linear layer from `inputs` to `outputs` into `folder` (exists, empty), in an accepted format."""
        raise NotImplementedError("write the tiny model")

    def target(self) -> Target:
        """Return the target to build for: this machine."""
        here = host.probe()
        return Target("host", "this machine", device=Device(arch=here.arch, isa=here.isa, cores=here.cores))

    def feeds(self, seed: int = 0) -> dict[str, np.ndarray]:
        """Return one set of inputs, different for each seed."""
        import numpy as np

        return {"x": np.random.default_rng(seed).standard_normal((2, 4)).astype(np.float32)}

    def expected(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the correct outputs, computed by numpy."""
        return {"y": feeds["x"] @ linear_weight() + linear_bias()}

    def _empty(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _model(self, tmp_path: Path) -> Model:
        return self.model(self._empty(tmp_path / "model"))

    def _built(self, backend: Backend, tmp_path: Path) -> Built:
        return backend.build(self._model(tmp_path), self.target(), {}, self._empty(tmp_path / "built"))

    def _assert_close(self, outputs: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
        import numpy as np

        assert set(outputs) == set(expected)
        for name, array in expected.items():
            assert outputs[name].dtype == array.dtype
            np.testing.assert_allclose(outputs[name], array, rtol=self.tolerance, atol=self.tolerance)
