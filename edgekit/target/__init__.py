"""Targets: their files, the search path of these files, and the facts of this machine."""

from edgekit.target.target import Target, available, load

__all__ = ["Target", "available", "load"]
