"""Networks whose weights are in the assets, rebuilt from the parameter names and the published facts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def resnet20(weights_path: Path | str | None = None) -> torch.nn.Module:
    """Return He's CIFAR ResNet-20: `images:f32[N,3,32,32]` to logits of 10 classes; random weights without a path.

    A block that halves the image keeps every second pixel and pads the channels with zeros (arXiv:1512.03385, A).
    """
    from torch import nn
    from torch.nn import functional

    class Block(nn.Module):
        def __init__(self, fan_in: int, maps: int) -> None:
            super().__init__()
            self.stride = 2 if maps != fan_in else 1
            self.pad = (maps - fan_in) // 2
            self.conv1 = nn.Conv2d(fan_in, maps, 3, self.stride, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(maps)
            self.conv2 = nn.Conv2d(maps, maps, 3, 1, 1, bias=False)
            self.bn2 = nn.BatchNorm2d(maps)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out = self.bn2(self.conv2(functional.relu(self.bn1(self.conv1(x)))))
            if self.stride == 2:
                x = functional.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
            return functional.relu(out + x)

    class ResNet20(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
            self.bn1 = nn.BatchNorm2d(16)
            self.layer1 = nn.Sequential(Block(16, 16), Block(16, 16), Block(16, 16))
            self.layer2 = nn.Sequential(Block(16, 32), Block(32, 32), Block(32, 32))
            self.layer3 = nn.Sequential(Block(32, 64), Block(64, 64), Block(64, 64))
            self.linear = nn.Linear(64, 10)

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            x = functional.relu(self.bn1(self.conv1(images)))
            x = self.layer3(self.layer2(self.layer1(x)))
            return self.linear(x.mean(dim=(2, 3)))

    net = ResNet20()
    if weights_path is not None:
        from safetensors.torch import load_file

        state = load_file(str(weights_path))
        result = net.load_state_dict(state, strict=False)
        # num_batches_tracked is a counter of training, absent from the file; anything else must match.
        left = [key for key in result.missing_keys if not key.endswith("num_batches_tracked")]
        if left or result.unexpected_keys:
            raise ValueError(f"weights do not fit ResNet-20: {left + result.unexpected_keys}")
    return net.eval()
