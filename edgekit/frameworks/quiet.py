"""Silence third-party libraries while they work: stdout is for our results, and users cannot act on their warnings."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_NOISY_LOGGERS = ("transformers", "optimum", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "huggingface_hub")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what Python code prints to our debug log, hide warnings, and let only errors of the libraries' logs through.

    Everything is restored at the end. Exceptions pass.
    """
    # logging.warning() calls basicConfig() when the root logger has no handler; onnxruntime's quantizers do that.
    root, null_handler = logging.getLogger(), logging.NullHandler()
    root.addHandler(null_handler)
    printed = io.StringIO()
    levels = {name: logging.getLogger(name).level for name in _NOISY_LOGGERS}
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.removeHandler(null_handler)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if text := printed.getvalue().strip():
                logging.getLogger("edgekit").debug("printed by a library: %s", text)
