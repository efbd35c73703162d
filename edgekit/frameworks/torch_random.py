"""The operators of a torch module that draw random numbers when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def random_operators(module: Any, run: Callable[[], object]) -> tuple[str, ...]:
    """Return each operator that draws random numbers while `run` runs `module`, with the submodule that calls it."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    names: dict[str, None] = {}
    running: list[str] = []

    class Watch(TorchDispatchMode):  # type: ignore[misc]  # torch's mode has no types
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if torch.Tag.nondeterministic_seeded in func.tags:
                place = running[-1] if running else ""
                operator = func.overloadpacket.__name__
                names[f"{operator} in '{place}'" if place else f"{operator} in {type(module).__name__}.forward"] = None
            return func(*args, **(kwargs or {}))

    def enters(name: str) -> Callable[..., None]:
        return lambda *_: running.append(name)

    def leaves(*_: object) -> None:  # what a hook returns would replace the output
        running.pop()

    hooks = []
    for name, part in module.named_modules():
        hooks.append(part.register_forward_pre_hook(enters(name)))
        hooks.append(part.register_forward_hook(leaves, always_call=True))
    try:
        with Watch():
            run()
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(names)
