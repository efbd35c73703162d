"""The process that runs inputs of one kind: `python -m tests.fuzz.worker KIND SEED FIRST END FOLDER`.

It writes a line of JSON before and after each input, so that the parent knows which one it died or hung in.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import random
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path

from edgekit.cli import failure
from edgekit.errors import EdgekitError

MEMORY_BYTES = 12 << 30
"""Address space, of which torch and the runtimes reserve some gigabytes that they never use."""

KINDS = {
    "onnx": "onnx_files",
    "data": "data_files",
    "huggingface": "hf_folders",
    "text": "text_files",
    "bundle": "bundle_folders",
}


class Accepted(Exception):
    """An altered payload was accepted."""


def main(kind: str, seed: str, first: str, end: str, folder: str) -> None:
    """Run the inputs with the numbers from `first` to before `end`."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # nothing that an input makes a library print comes between the lines
    warnings.simplefilter("ignore")
    os.chdir(folder)
    draw = importlib.import_module(f"tests.fuzz.{KINDS[kind]}").draws(Path(folder))
    for number in range(int(first), int(end)):
        name, use = draw(random.Random(f"{kind} {seed} {number}"))
        print(json.dumps({"begins": number, "name": name[:300]}), file=out, flush=True)
        began = time.monotonic()
        outcome, words = judged(use)
        seconds = round(time.monotonic() - began, 2)
        print(json.dumps({"outcome": outcome, "words": words, "s": seconds}), file=out, flush=True)


def judged(use: object) -> tuple[str, str]:
    """Return how an input ended: `accepted`, `refused`, `trace`, or `altered`; and words for a fault."""
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            use()  # type: ignore[operator]
    except Accepted as error:
        return "altered", str(error)
    except Exception as error:
        known = failure.translate(error)
        if isinstance(known, EdgekitError) and 2 <= known.exit_code <= 9 and known.message:
            return "refused", f"{known.exit_code}"
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if "/edgekit" in frame.filename and "/tests/" not in frame.filename] or frames
        places = " > ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in own[-3:])
        return "trace", f"{type(error).__name__}: {str(error)[:160]} at {places}"
    return "accepted", ""


if __name__ == "__main__":
    main(*sys.argv[1:])
