"""A user's own networks, as `tests.sources.user_networks:factory` would be given; copied into a folder by the tests."""

from __future__ import annotations

import warnings

import torch
from torch import nn


class Net(nn.Module):
    """A small convolutional net with an optional second input."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 8, 3, padding=1, stride=2)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(8, 5)

    def forward(self, x, scale=None):
        y = self.head(self.drop(self.conv(x).relu().mean((2, 3))))
        return y if scale is None else {"logits": y * scale, "features": y}


class OneOnly(nn.Module):
    def forward(self, x):
        return x.reshape(1, 4) * 2


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = nn.GRU(4, 6, batch_first=True)

    def forward(self, x):
        return self.cell(x)


class Any(nn.Module):
    def forward(self, *tensors):
        return tuple(tensor * 2 for tensor in tensors)


def bare():
    return Net()


def with_example():
    return Net(), torch.randn(1, 3, 32, 32)


def with_dict():
    return Net(), {"scale": torch.full((1, 5), 2.0), "x": torch.randn(1, 3, 32, 32)}


def with_attribute():
    net = Net()
    net.example_inputs = (torch.randn(1, 3, 16, 16),)
    return net


def one_only():
    return OneOnly(), torch.ones(1, 4)


def recurrent():
    return Recurrent()


def any_number():
    return Any(), (torch.ones(1, 4), torch.ones(1, 3))


def broken_weights():
    net = Net()
    with torch.no_grad():
        net.head.weight[0, 0] = float("nan")
    return net, torch.randn(1, 3, 8, 8)


def wrong_example():
    return Net(), torch.randn(1, 4, 8, 8)


def too_many():
    return Net(), (torch.ones(1),) * 3


def no_tensor():
    return Net(), "images"


def fails():
    raise RuntimeError("the weights are on another disk")


def no_module():
    return 3


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def branching():
    return Branching(), torch.ones(1, 4)


class SameNames(nn.Module):
    """A module with an output of an input's name, another in its memory, and the input changed in place."""

    def forward(self, x):
        x += 1
        return {"x": x * 2, "same": x}


class ByBatch(nn.Module):
    def forward(self, x):
        return x * 2 if x.shape[0] > 1 else x


class Named(nn.Module):
    def forward(self, x, **more):
        return x * more["scale"]


class AnyNames(nn.Module):
    def forward(self, **more):
        return more["x"] * more["scale"]


class Table(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words = nn.Embedding(12, 4)

    def forward(self, ids):
        return self.words(ids).sum(dim=(1, 2)).sum()


def same_names():
    return SameNames(), torch.randn(2, 4)


def by_batch():
    return ByBatch(), torch.randn(1, 4)


def named():
    return Named(), {"x": torch.randn(2, 5), "scale": torch.randn(2, 5)}


def any_names():
    return AnyNames(), {"x": torch.randn(2, 5), "scale": torch.randn(2, 5)}


def table():
    return Table(), torch.randint(3, 7, (2, 5), generator=torch.Generator().manual_seed(0))


def bare_table():
    return Table()


def scripted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that tracing is deprecated
        return torch.jit.trace(Net().eval(), torch.randn(1, 3, 32, 32)), torch.randn(1, 3, 32, 32)


def exits():
    raise SystemExit(3)
