"""What users get wrong: each case prepares its files in an empty folder and gives the command that is run there."""

from __future__ import annotations

import importlib

from .case import CASES, Case

for _name in ("words", "models", "graphs", "modules", "samples", "tables", "elsewhere", "bundles", "disks"):
    importlib.import_module(f"{__name__}.{_name}")

__all__ = ["CASES", "Case"]
