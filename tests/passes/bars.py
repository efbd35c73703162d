"""A small task and a net for tests that train: bright bars in noise, vertical or horizontal."""

from __future__ import annotations

import numpy as np
import torch

SIZE = 8


def pictures(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return float32 [count, 1, 8, 8] and labels: 1 for a vertical bar, 0 for a horizontal one."""
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 0.5, (count, 1, SIZE, SIZE)).astype(np.float32)
    labels = generator.integers(0, 2, count)
    for image, label, position in zip(images, labels, generator.integers(1, 7, count), strict=True):
        image[0][(slice(None), position) if label else (position, slice(None))] += 1
    return images, labels


class Net(torch.nn.Module):
    """A convolutional classifier with a batch norm and a dropout."""

    def __init__(self, maps: int = 8) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(1, maps, 3, padding=1)
        self.norm = torch.nn.BatchNorm2d(maps)
        self.drop = torch.nn.Dropout(0.1)
        self.head = torch.nn.Linear(maps, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(torch.relu(self.norm(self.conv(x))).amax((2, 3))))


def trained() -> Net:
    """Return a net that classifies the bars, the same each time; trained in doubles, so that processors agree."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net, (images, labels) = Net().double(), pictures(256, 0)
        optimizer = torch.optim.Adam(net.parameters(), 0.02)
        for _ in range(60):
            loss = torch.nn.functional.cross_entropy(net(torch.from_numpy(images).double()), torch.from_numpy(labels))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.float().eval()


def uneven() -> tuple[Net, torch.Tensor]:
    """Return the same function with channels of very different sizes, which one scale for a tensor cannot round."""
    net = trained()
    with torch.no_grad():
        important = (net.head.weight[1] - net.head.weight[0]).abs().argsort(descending=True)[:5]
        for channel in important:
            net.norm.weight[channel] /= 100
            net.norm.bias[channel] /= 100
            net.head.weight[:, channel] *= 100
    return net.requires_grad_(False), torch.zeros(1, 1, SIZE, SIZE)
