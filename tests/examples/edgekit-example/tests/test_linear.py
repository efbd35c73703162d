import numpy as np
import pytest
from edgekit_example import Linear

from edgekit import target
from edgekit.model import Model, Part
from edgekit.testing import BackendTests
from edgekit.testing.backend import linear_bias, linear_weight


class TestLinear(BackendTests):
    @pytest.fixture
    def backend(self):
        return Linear()

    def model(self, folder):
        np.savez(folder / "model.npz", weight=linear_weight(), bias=linear_bias())
        return Model("linear", (Part("model", "model.npz", self.inputs, self.outputs),), folder=folder)


def test_target_is_found():
    assert target.load("example-board").backends == ("linear",)
