"""Networks of the tests' own, as a user's package would hold them: `$NETWORK_WEIGHTS` names the weights to load."""

from __future__ import annotations

import os

import torch
from torch import nn
from torch.nn import functional as f


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(after)
        self.pad = (after - before) // 2
        self.stride = stride

    def forward(self, x):
        y = self.bn2(self.conv2(f.relu(self.bn1(self.conv1(x)))))
        x = x[:, :, :: self.stride, :: self.stride]
        return f.relu(y + f.pad(x, (0, 0, 0, 0, self.pad, self.pad)))


class ResNet20(nn.Module):
    """He-style ResNet-20 for CIFAR."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = nn.Sequential(*(Block(16, 16, 1) for _ in range(3)))
        self.layer2 = nn.Sequential(Block(16, 32, 2), *(Block(32, 32, 1) for _ in range(2)))
        self.layer3 = nn.Sequential(Block(32, 64, 2), *(Block(64, 64, 1) for _ in range(2)))
        self.linear = nn.Linear(64, 10)

    def forward(self, pixel_values):
        x = f.relu(self.bn1(self.conv1(pixel_values)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean(dim=(2, 3)))


class Credit(nn.Module):
    """A small perceptron on a row of numbers, which it standardizes itself."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(23))
        self.register_buffer("std", torch.ones(23))
        self.layers = nn.Sequential(nn.Linear(23, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 2))

    def forward(self, features):
        return self.layers(((features - self.mean) / self.std).clamp(-5, 5))


class Chest(nn.Module):
    """A small convolutional network on gray pictures as they are stored: bytes, without a channel."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 3, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 3, 2, 1), nn.ReLU(), nn.Conv2d(32, 32, 3, 2, 1),
            nn.ReLU(), nn.Flatten(), nn.Linear(512, 2),
        )  # fmt: skip

    def forward(self, images):
        return self.layers(images.float().unsqueeze(1) / 255)


def _loaded(module: nn.Module) -> nn.Module:
    from safetensors.torch import load_file

    module.load_state_dict(load_file(os.environ["NETWORK_WEIGHTS"]), strict=False)
    return module.eval()


def resnet20():
    return _loaded(ResNet20()), torch.zeros(1, 3, 32, 32)


def uneven(net: nn.Module) -> nn.Module:
    """Return the same function with the maps inside three blocks scaled apart, so that one range cannot hold them."""
    with torch.no_grad():
        for block in (net.layer1[1], net.layer2[1], net.layer3[1]):
            scale = torch.logspace(-4, 0, block.bn1.num_features)
            block.bn1.weight *= scale
            block.bn1.bias *= scale
            block.conv2.weight /= scale[None, :, None, None]
    return net


def resnet20_uneven():
    net, example = resnet20()
    return uneven(net), example


def credit():
    return _loaded(Credit())


def chest():
    return _loaded(Chest())
