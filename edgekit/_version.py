"""The version of edgekit: one place, read by the package and by the modules that write it into bundles."""

__version__ = "0.1.0"
