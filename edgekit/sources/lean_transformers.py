"""Import transformers without what an export never uses."""

from __future__ import annotations

import importlib
import sys


def import_transformers() -> None:
    """Import transformers' model code without scikit-learn, if this process has imported neither yet.

    Its generation module imports scikit-learn, and so scipy, where they are installed, for the ROC curve of assisted
    generation: 1.2 s and 60 MB of every export, whatever the model. transformers then counts scikit-learn as not
    installed in this process.
    """
    if "transformers" in sys.modules or "sklearn" in sys.modules:
        return
    sys.modules["sklearn"] = None  # type: ignore[assignment]  # None is how Python marks "not importable"
    try:
        importlib.import_module("transformers.generation.candidate_generator")
    finally:
        del sys.modules["sklearn"]
