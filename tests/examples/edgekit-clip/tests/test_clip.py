import torch
from edgekit_clip import Clip

from edgekit.testing import TorchPassTests, load_recipe


class TestClip(TorchPassTests):
    def subject(self):
        return Clip(sigmas=1.5)

    def module(self):
        torch.manual_seed(0)
        return torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2)), torch.zeros(1, 6)

    def unfit(self):
        return torch.nn.Sequential(torch.nn.ReLU()), torch.zeros(1, 6)


def test_recipe_has_its_settings():
    first, second = load_recipe("clipped.toml").passes
    assert Clip.from_dict(first.config) == Clip(sigmas=2.5)
    assert second.name == "quantize-static"
