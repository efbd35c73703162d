"""Small networks for the pruning tests, each with a structure that is easy to prune wrongly, and how to run them."""

from __future__ import annotations

import runpy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn import functional


class Concat(nn.Module):
    """Two branches whose channels are concatenated and read by one convolution."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Conv2d(3, 16, 3, padding=1)
        self.right = nn.Conv2d(3, 24, 1)
        self.norm = nn.BatchNorm2d(40)
        self.read = nn.Conv2d(40, 16, 1)
        self.answer = nn.Linear(16 * 16, 4)

    def forward(self, x: Any) -> Any:
        both = self.norm(torch.cat([self.left(x), self.right(x)], 1)).relu()
        return self.answer(functional.max_pool2d(self.read(both).relu(), 2).flatten(1))


class Depthwise(nn.Module):
    """An inverted bottleneck as in MobileNetV2, with its shortcut, and a PReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.expand = nn.Conv2d(8, 32, 1, bias=False)
        self.norm1 = nn.BatchNorm2d(32)
        self.spread = nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False)
        self.norm2 = nn.BatchNorm2d(32)
        self.act = nn.PReLU(32)
        self.project = nn.Conv2d(32, 8, 1, bias=False)
        self.answer = nn.Linear(8, 4)

    def forward(self, x: Any) -> Any:
        x = self.stem(x)
        inside = self.act(self.norm2(self.spread(self.norm1(self.expand(x)).relu())))
        return self.answer((x + self.project(inside)).mean((2, 3)))


class Upward(nn.Module):
    """A transposed convolution in the middle, and two outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 16, 3, 2, 1)
        self.up = nn.ConvTranspose2d(16, 24, 2, 2)
        self.far = nn.Conv2d(24, 2, 1)

    def forward(self, x: Any) -> Any:
        up = self.up(self.down(x).relu()).relu()
        return self.far(up), up.mean((1, 2, 3))


class Mixed(nn.Module):
    """Layers whose channels cannot be separated: a layer norm over them, groups, a softmax."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(12, 16)
        self.norm = nn.LayerNorm(16)
        self.second = nn.Linear(16, 16)
        self.grouped = nn.Conv1d(16, 16, 1, groups=4)
        self.third = nn.Linear(16, 16)
        self.free = nn.Linear(16, 32)
        self.last = nn.Linear(32, 3)

    def forward(self, x: Any) -> Any:
        x = self.second(self.norm(self.first(x)))
        x = self.third(self.grouped(x[:, :, None])[:, :, 0]).softmax(-1)
        return self.last(self.free(x).relu())


def mlp() -> nn.Module:
    return nn.Sequential(nn.Linear(12, 32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 3))


def resnet20() -> nn.Module:
    """Return ResNet-20, whose shortcuts keep every second pixel and pad the channels with zeros."""
    return runpy.run_path(str(Path(__file__).parent.parent / "nets.py"))["resnet20"]()


PICTURE = {"x": (2, 3, 8, 8)}
ROW = {"x": (2, 12)}

PLAIN: Mapping[str, tuple[Callable[[], nn.Module], Mapping[str, tuple[int, ...]]]] = {
    "concat": (Concat, PICTURE),
    "depthwise": (Depthwise, PICTURE),
    "upward": (Upward, PICTURE),
    "mlp": (mlp, ROW),
    "mixed": (Mixed, ROW),
    "resnet20": (resnet20, PICTURE),
}


def plain(name: str) -> tuple[nn.Module, Callable[[Any], dict[str, Any]]]:
    """Return a network with random weights and random norm statistics, and the function that runs it."""
    make, shapes = PLAIN[name]
    torch.manual_seed(1)
    net = make().eval()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.running_mean.normal_()
            part.running_var.uniform_(0.5, 2)
            part.weight.data.uniform_(0.5, 2)
            part.bias.data.normal_()
    inputs = [torch.randn(shape) for shape in shapes.values()]

    def run(part: Any) -> dict[str, Any]:
        outputs = part(*inputs)
        return {f"output_{i}": output for i, output in enumerate(outputs if isinstance(outputs, tuple) else (outputs,))}

    return net, run


SIZES = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "intermediate_size": 48}
TEXT = {"vocab_size": 50, "max_position_embeddings": 40, **SIZES}
VISION = {"image_size": 16, "patch_size": 8, **SIZES}

TRANSFORMERS = {
    "bert": ("BertForSequenceClassification", "BertConfig", TEXT),
    "roberta": ("RobertaForSequenceClassification", "RobertaConfig", TEXT),
    "electra": ("ElectraForSequenceClassification", "ElectraConfig", {"embedding_size": 32, **TEXT}),
    "distilbert": (
        "DistilBertForSequenceClassification",
        "DistilBertConfig",
        {"vocab_size": 50, "dim": 32, "n_heads": 4, "n_layers": 2, "hidden_dim": 48},
    ),
    "vit": ("ViTForImageClassification", "ViTConfig", VISION),
    "deit": ("DeiTForImageClassification", "DeiTConfig", VISION),
}


def transformer(name: str) -> tuple[Any, Callable[[Any], dict[str, Any]]]:
    """Return a tiny transformer with random weights, and the function that runs it."""
    import transformers

    kind, config, sizes = TRANSFORMERS[name]
    torch.manual_seed(2)
    net = getattr(transformers, kind)(getattr(transformers, config)(**sizes, num_labels=3)).eval()
    for parameter in net.parameters():
        parameter.data.normal_(0, 0.2)
    ids = torch.randint(3, 50, (2, 9))
    inputs = {"pixel_values": torch.randn(2, 3, 16, 16)} if sizes is VISION else {"input_ids": ids}
    return net, lambda part: {"logits": part(**inputs).logits}
