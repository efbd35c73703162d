"""What an export is for: target files, the machine at hand, and where target files are looked for."""

from edgekit.target.target import Target, available, load

__all__ = ["Target", "available", "load"]
