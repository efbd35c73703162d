"""The checks of `edgekit doctor`: this machine here, its plugins and packages in `package_checks`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from edgekit import _requirement
from edgekit.cli import package_checks
from edgekit.cli.finding import Finding

LEAST_FREE_MB = 200
COMFORTABLE_FREE_MB = 2000
"""MB of free disk below which a larger model may not fit: an export of a model of 100 M parameters keeps about four
copies of its weights in the cache.
"""


def findings(*, imports: bool) -> Iterator[Finding]:
    """Yield the findings one by one; with `imports` the build packages are imported too, each in a child process."""
    yield _python()
    yield _processor()
    yield from _jetson()
    yield from package_checks.plugins()
    yield from package_checks.build_packages()
    if imports:
        yield from package_checks.imports()
    yield from package_checks.optional_packages()
    yield _disk()
    yield from _environments()
    yield from _targets()
    yield _telemetry()
    yield _hub()


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.maxsize < 2**32:
        return Finding(
            "python", "broken", f"{version}, 32-bit: no runtime has packages for it", "use a 64-bit Python and system"
        )
    return Finding("python", "ok", f"{version} ({sys.executable})")


def _processor() -> Finding:
    from edgekit.target import host

    here = host.probe()
    words = f"{here.cpu or 'unknown'}, {here.cores} cores, {here.arch}: {', '.join(here.isa) or 'no known extensions'}"
    fast = {"avx_vnni", "avx512_vnni", "amx_int8", "dotprod", "i8mm"}
    if here.arch == "x86_64" and "avx2" not in here.isa:
        return Finding("processor", "warning", f"{words}; without AVX2 the runtimes are slow or do not start")
    words += "; fast int8" if fast & set(here.isa) else "; no fast int8: lower precision may not be faster here"
    return Finding("processor", "ok", words)


def _jetson() -> Iterator[Finding]:
    """Yield the software of a Jetson, and the state that makes its times differ from day to day."""
    from edgekit.target import jetson

    board = jetson.probe()
    if board is None:
        return
    if board.tensorrt is None:
        hint = "sudo apt-get install nvidia-jetpack"
        yield Finding("jetson", "warning", f"{board}; no TensorRT: engines cannot be built here", hint)
    elif board.clocks_locked is False:
        yield Finding("jetson", "ok", f"{board}: times vary with them", "run before a benchmark: sudo jetson_clocks")
    else:
        yield Finding("jetson", "ok", str(board))


def _disk() -> Finding:
    import shutil

    from edgekit import cache

    folder = cache.folder()
    existing = folder.absolute()
    while not existing.exists():
        existing = existing.parent
    free = shutil.disk_usage(existing).free / 1e6
    used = sum(entry.bytes for entry in cache.usage()) / 1e6
    words = f"{folder}: {free / 1000:.1f} GB free, {used:.1f} MB used by edgekit"
    if not os.access(existing, os.W_OK):
        return Finding("cache", "broken", f"{folder} cannot be written", "set EDGEKIT_CACHE_DIR to a folder of yours")
    if free < LEAST_FREE_MB:
        return Finding("cache", "broken", words, "free some space, or set EDGEKIT_CACHE_DIR to another disk")
    if free < COMFORTABLE_FREE_MB:
        return Finding("cache", "warning", f"{words}: little for larger models", "edgekit cache clear")
    return Finding("cache", "ok", words)


def _environments() -> Iterator[Finding]:
    """Yield the packages of builders that cannot share edgekit's environment, which it installed into its cache."""
    from edgekit import cache

    for entry in cache.usage():
        if entry.step.endswith("-environment"):
            words = f"{entry.bytes / 1e6:.0f} MB of packages apart from these, in the cache since {entry.created}"
            yield Finding(entry.step, "ok", words)


def _targets() -> Iterator[Finding]:
    from edgekit.errors import EdgekitError
    from edgekit.target import target

    known = target.available()
    faults = []
    for path in known.values():
        try:
            target.load(str(path))
        except EdgekitError as error:
            faults.append(Finding("targets", "warning", error.message, error.hint or f"correct or remove {path}"))
    yield from faults
    if not known:
        yield Finding("targets", "broken", "there are no target files", "pip install --force-reinstall edgekit")
    elif not faults:
        yield Finding("targets", "ok", f"{len(known)} available")


def _telemetry() -> Finding:
    from edgekit import catalog

    of_runtimes = [name.replace("_", "-") for runtime in catalog.runtimes().values() for name in runtime.telemetry]
    senders = [name for name in ("onnxruntime", *of_runtimes, "huggingface-hub") if _requirement.installed(name)]
    if not senders:
        return Finding("telemetry", "ok", "neither edgekit nor any package here has telemetry")
    words = f"edgekit has none, and switches off that of {', '.join(senders)} before it imports them"
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1" or "onnxruntime" not in senders
    hint = None if off else "for your other programs: export ORT_DISABLE_TELEMETRY=1"
    return Finding("telemetry", "ok", words, hint)


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return Finding(
        "hub", "ok", f"{home}; {'offline: models are read from there only' if offline else 'online for hf: models'}"
    )
