"""Keep the configuration of a module that optimum traces."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator
from typing import Any


@contextlib.contextmanager
def config_kept(module: Any) -> Iterator[None]:
    """Restore the configs of the module and of its parts: optimum sets values for the tracer, and the original is run
    after it.
    """
    configs = {id(each.config): each.config for each in module.modules() if hasattr(each, "config")}
    before = {key: copy.deepcopy(config.__dict__) for key, config in configs.items()}
    try:
        yield
    finally:
        for key, config in configs.items():
            config.__dict__.clear()
            config.__dict__.update(before[key])
