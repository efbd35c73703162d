"""Count the multiply-adds of one inference of a torch module, by torch's own FLOP counter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Work:
    """Multiply-adds of one inference: a product and a sum together count once."""

    total: int
    convolutions: int
    """Those of convolutions."""


def count(module: Any, run: Callable[[Any], Any]) -> Work:
    """Return the multiply-adds of `run(module)`; norms, activations and look-ups count nothing."""
    # torch's counter does not know the processor's fused attention kernel; its plain form is two matrix products.
    with one_thread(), FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        run(module)
    counts = counter.get_flop_counts().get("Global", {})
    convolutions = sum(flops for kind, flops in counts.items() if "convolution" in str(kind))
    return Work(sum(counts.values()) // 2, convolutions // 2)  # it counts product and sum separately


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread: single inferences are too small for several, which on a busy machine mostly wait."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
