import numpy as np
import pytest
from edgekit_example import Linear

from edgekit.plugin import Model, Part
from edgekit.testing import BackendTests, load_target
from edgekit.testing.backend import linear_bias, linear_weight


class TestLinear(BackendTests):
    @pytest.fixture
    def backend(self):
        return Linear()

    def model(self, folder):
        np.savez(folder / "model.npz", weight=linear_weight(), bias=linear_bias())
        return Model("linear", (Part("model", "model.npz", self.inputs, self.outputs),), folder=folder)


def test_target_is_found():
    assert load_target("example-board").backends == ("linear",)
