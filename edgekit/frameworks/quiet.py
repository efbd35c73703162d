"""Keep third parties quiet while they work: stdout belongs to our results, and their warnings are not for our users."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

_TALKATIVE = ("transformers", "optimum", "torch.onnx", "torch.export", "onnxscript", "onnx_ir", "huggingface_hub")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Send what Python code prints to our debug log, hide warnings, and let through errors only of the libraries' logs.

    All is put back at the end. Exceptions pass.
    """
    # logging.warning() calls basicConfig() when the root logger has no handler; onnxruntime's quantizers do that.
    root, silent = logging.getLogger(), logging.NullHandler()
    root.addHandler(silent)
    printed = io.StringIO()
    levels = {name: logging.getLogger(name).level for name in _TALKATIVE}
    with warnings.catch_warnings(), contextlib.redirect_stdout(printed):
        warnings.simplefilter("ignore")
        for name in levels:
            logging.getLogger(name).setLevel(logging.ERROR)
        try:
            yield
        finally:
            root.removeHandler(silent)
            for name, level in levels.items():
                logging.getLogger(name).setLevel(level)
            if text := printed.getvalue().strip():
                logging.getLogger("edgekit").debug("printed by a library: %s", text)
