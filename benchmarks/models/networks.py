"""Plain torch networks as factories (`models.networks:resnet20`), rebuilt from the names of their parameters."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as f

from models.place import assets


class Block(nn.Module):
    """Two convolutions and a shortcut without parameters: every second pixel, new maps of zeros."""

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
    """The ResNet-20 for CIFAR-10 of He and others (2016)."""

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


class Res8(nn.Module):
    """The narrow res8 of Tang and Lin (2018) for 12 keywords: cepstra [batch, 101, 40] in, scores out."""

    MAPS = 19

    def __init__(self) -> None:
        super().__init__()
        self.conv0 = nn.Conv2d(1, self.MAPS, 3, padding=1, bias=False)
        for number in range(1, 7):
            setattr(self, f"conv{number}", nn.Conv2d(self.MAPS, self.MAPS, 3, padding=1, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm2d(self.MAPS, affine=False))
        self.output = nn.Linear(self.MAPS, 12)

    def forward(self, features):
        x = kept = f.avg_pool2d(f.relu(self.conv0(features.unsqueeze(1))), (4, 3))
        for number in range(1, 7):
            x = f.relu(getattr(self, f"conv{number}")(x))
            if number % 2 == 0:
                x = kept = x + kept
            x = getattr(self, f"bn{number}")(x)
        return self.output(x.mean(dim=(2, 3)))


def resnet20():
    return _loaded(ResNet20(), "resnet-cifar10", "resnet20.safetensors"), torch.zeros(1, 3, 32, 32)


def res8():
    return _loaded(Res8(), "kws-res8", "res8_narrow.safetensors"), torch.zeros(1, 101, 40)


def _loaded(module: nn.Module, folder: str, file: str) -> nn.Module:
    from safetensors.torch import load_file

    module.load_state_dict(load_file(assets(folder) / file))
    return module.eval()
