"""Fake quantization: while they train, Linear and Conv layers compute with the values that int8 can represent.

Rounding passes gradients on as if it were not there (straight-through estimator, arXiv:1308.3432). A scale for each
output channel of a weight commutes with the batch norm behind it, so folding that later changes no rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

TRACKING = 0.05
"""Weight of a batch's extremes in the running ones."""

_LOW, _HIGH = "fake_low", "fake_high"


@dataclass(frozen=True)
class Int8Scheme:
    """How int8 represents activations and weights for a processor."""

    signed: bool
    """Whether activations are s8; else u8."""
    symmetric: bool
    """Whether their zero point is 0."""
    reduce_range: bool
    """Whether weights have 7 bits."""


def attach(module: Any, scheme: Int8Scheme) -> int:
    """Make every Linear and Conv of a module quantize its input and weight, in place; return their number."""
    import torch

    count = 0
    for layer in module.modules():
        if type(layer) in (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d):
            layer.register_buffer(_LOW, torch.tensor(0.0))
            layer.register_buffer(_HIGH, torch.tensor(0.0))
            layer.fake_scheme = scheme
            layer.__class__ = _fake(type(layer))
            count += 1
    return count


def detach(module: Any) -> None:
    """Undo `attach`, in place: the layers keep their float weights."""
    for layer in module.modules():
        if hasattr(layer, _LOW):
            layer.__class__ = type(layer).__mro__[2]
            del layer.fake_low, layer.fake_high, layer.fake_scheme


def _fake(kind: type) -> type:
    """Return the class of a layer that quantizes before it computes."""

    class Faking:
        def forward(self: Any, inputs: Any) -> Any:
            inputs, weight = _activation(self, inputs), _weight(self)
            if hasattr(self, "_conv_forward"):
                return self._conv_forward(inputs, weight, self.bias)
            from torch.nn import functional

            return functional.linear(inputs, weight, self.bias)

    return type(f"Faking{kind.__name__}", (Faking, kind), {})


def _activation(layer: Any, inputs: Any) -> Any:
    """Return an input rounded to 8 bits between its running extremes, which a training batch updates."""
    import torch

    if layer.training:
        with torch.no_grad():
            low, high = torch.aminmax(inputs)
            unset = float(layer.fake_high) == float(layer.fake_low) == 0.0
            share = 1.0 if unset else TRACKING
            layer.fake_low += share * (low.clamp_max(0) - layer.fake_low)
            layer.fake_high += share * (high.clamp_min(0) - layer.fake_high)
    low, high = float(layer.fake_low), float(layer.fake_high)
    scheme: Int8Scheme = layer.fake_scheme
    least, most = (-128, 127) if scheme.signed or scheme.symmetric else (0, 255)
    if scheme.symmetric:
        scale, zero = max(-low, high) / 127, 0
    else:
        scale = (high - low) / 255
        zero = least - round(low / scale) if scale else least
    return torch.fake_quantize_per_tensor_affine(inputs, scale, zero, least, most) if scale else inputs


def _weight(layer: Any) -> Any:
    """Return a weight rounded to its int8 values, with a scale for each output channel."""
    import torch

    most = 63 if layer.fake_scheme.reduce_range else 127
    weight = layer.weight
    scale = weight.detach().flatten(1).abs().amax(1).clamp_min(1e-12) / most
    zeros = torch.zeros(len(scale), dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(weight, scale, zeros, 0, -most, most)
