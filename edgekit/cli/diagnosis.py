"""What `doctor` looks at.

Nothing heavy is imported in this process: metadata is read, and runtimes are asked in a child process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit import _requirement
from edgekit._record import Record

BUILD = "build"
"""The extra with all that an export needs beside the core and a plugin."""
BUILD_MISSING = "build packages"
LEAST_FREE_MB = 200
COMFORTABLE_FREE_MB = 2000
"""An export of a model of 100 M parameters keeps about four copies of its weights in the cache."""
CHILD_SECONDS = 60

_MARK = "edgekit-doctor:"
_PROBE = f"""
import json, sys
from edgekit import registry
print({_MARK!r} + json.dumps(registry.backend(sys.argv[1]).probe().to_dict()))
"""
_IMPORT = f"""
import importlib, sys
from edgekit._privacy import no_telemetry
no_telemetry()
importlib.import_module(sys.argv[1])
print({_MARK!r} + "{{}}")
"""
_MODULES = {"torch": "torch", "transformers": "transformers", "optimum-onnx": "optimum.exporters.onnx", "onnx": "onnx",
            "onnxruntime": "onnxruntime", "torchvision": "torchvision", "timm": "timm"}  # fmt: skip


@dataclass(frozen=True)
class Finding(Record):
    """One thing that was looked at; `broken` keeps the main job from working, `warning` does not."""

    name: str
    state: Literal["ok", "warning", "broken"]
    words: str
    hint: str | None = None


@dataclass(frozen=True)
class Checkup(Record):
    """All findings, and whether the main job can work."""

    ok: bool
    findings: tuple[Finding, ...]


def look(*, imports: bool) -> Iterator[Finding]:
    """Yield every finding in turn; with `imports` the build packages are imported too, each in a child process."""
    yield _python()
    yield _processor()
    yield from _jetson()
    yield from _plugins()
    yield from _packages()
    if imports:
        yield from _imports()
    yield from _light_packages()
    yield _disk()
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
    """Return what a Jetson runs, and what makes its times unlike those of another day."""
    from edgekit.target import jetson

    found = jetson.probe()
    if found is None:
        return
    if found.tensorrt is None:
        hint = "sudo apt-get install nvidia-jetpack"
        yield Finding("jetson", "warning", f"{found}; no TensorRT: engines cannot be built here", hint)
    elif found.clocks_locked is False:
        yield Finding("jetson", "ok", f"{found}: times vary with them", "before a benchmark: sudo jetson_clocks")
    else:
        yield Finding("jetson", "ok", str(found))


def _plugins() -> Iterator[Finding]:
    from edgekit import registry
    from edgekit.errors import EdgekitError

    try:
        names = registry.names("backend")
    except EdgekitError as error:
        yield Finding("plugins", "broken", error.message, error.hint)
        return
    working = 0
    for name in names:
        finding = _plugin(name, registry.distribution("backend", name))
        working += finding.state == "ok"
        yield finding
    if not working:
        lines = " or ".join(f"pip install {name}" for name in list(registry.KNOWN_PLUGINS.values())[:2])
        yield Finding("plugins", "broken", "no backend works here: nothing can be built or run", lines)


def _plugin(name: str, owner: str) -> Finding:
    found, fault = _child(_PROBE, name)
    if found is None:
        return Finding(
            f"plugin {name}", "broken", f"{owner}: {fault}", f"pip install --force-reinstall {owner.split()[0]}"
        )
    versions = ", ".join(f"{package} {version}" for package, version in found["versions"].items())
    words = f"{owner}; {versions}; devices: {', '.join(found['devices']) or 'none'}"
    if not found["available"]:
        # A backend for another device, such as TensorRT on a machine without a GPU, is no fault of this machine.
        return Finding(f"plugin {name}", "warning", f"{owner}: {'; '.join(found['problems'])}", found["hint"])
    return Finding(f"plugin {name}", "ok", words)


def _packages() -> Iterator[Finding]:
    """Hold every build package against edgekit's own pins and against what the others of them require."""
    pins = {wanted.name: wanted for wanted in _requirement.of("edgekit", BUILD) if wanted.name != "edgekit"}
    present = [name for name in pins if _requirement.installed(name) is not None]
    missing = [name for name in pins if name not in present]
    if missing and not set(present) - _light():
        words = "not installed: bundles run, verify and bench here, but nothing can be exported"
        yield Finding(BUILD_MISSING, "ok", words, "pip install 'edgekit[build]'")
    elif missing:
        yield Finding(BUILD_MISSING, "broken", f"not installed: {', '.join(missing)}", "pip install 'edgekit[build]'")
    wanted = _clauses(("edgekit", *present))
    for name in sorted({*present, *wanted}):
        version = _requirement.installed(name)
        asked = dict(sorted(wanted.get(name, {}).items(), key=_lower_bound_first))
        bad = {clause: who for clause, who in asked.items() if version and not _requirement.satisfies(version, clause)}
        if bad:
            who = "; ".join(f"{' and '.join(sorted(owners))} needs {clause}" for clause, owners in bad.items())
            line = f"pip install '{name}{','.join(asked)}'"
            yield Finding(f"package {name}", "broken", f"{version} is installed, but {who}", line)
        elif name in present:
            yield Finding(f"package {name}", "ok", f"{version} ({', '.join(asked) or 'any version'})")


def _light() -> set[str]:
    """Return the packages that a device has too: those of the core, of the small extras and of the plugins."""
    from edgekit import registry

    owners = [("edgekit", None), ("edgekit", "tasks"), ("edgekit", "cli")]
    owners += [(registry.distribution("backend", name).split()[0], None) for name in registry.names("backend")]
    found: set[str] = set()
    waiting = {wanted.name for owner, extra in owners for wanted in _requirement.of(owner, extra)}
    while waiting:  # what those need is there too: tokenizers brings huggingface-hub
        name = waiting.pop()
        found.add(name)
        waiting |= {wanted.name for wanted in _requirement.of(name)} - found
    return found


def _lower_bound_first(item: tuple[str, set[str]]) -> tuple[bool, str]:
    return item[0].startswith("<"), item[0]


def _clauses(owners: tuple[str, ...]) -> dict[str, dict[str, set[str]]]:
    """Gather, for each required package, its version clauses and who asks for each."""
    found: dict[str, dict[str, set[str]]] = {}
    for owner in owners:
        lines = [*_requirement.of(owner), *(_requirement.of(owner, BUILD) if owner == "edgekit" else ())]
        for wanted in lines:
            for clause in wanted.clauses:
                found.setdefault(wanted.name, {}).setdefault(clause, set()).add(owner)
    return found


def _imports() -> Iterator[Finding]:
    for package, module in _MODULES.items():
        if _requirement.installed(package) is None:
            continue
        found, fault = _child(_IMPORT, module)
        needed = package not in ("torchvision", "timm")
        if found is not None:
            yield Finding(f"import {module}", "ok", "it imports")
            continue
        hint = (
            f"pip install --force-reinstall {package}"
            if needed
            else f"pip uninstall {package} (transformers fails with it)"
        )
        yield Finding(f"import {module}", "broken", fault, hint)


def _light_packages() -> Iterator[Finding]:
    listed = {wanted.name for wanted in _requirement.of("edgekit", BUILD)}
    for package, purpose, extra in (
        ("pillow", "read images", "tasks"),
        ("tokenizers", "read texts", "tasks"),
        ("rich", "draw progress on a terminal", "cli"),
    ):
        version = _requirement.installed(package)
        if version is None:
            yield Finding(
                package, "warning", f"not installed: edgekit cannot {purpose}", f"pip install 'edgekit[{extra}]'"
            )
        elif package not in listed:
            yield Finding(package, "ok", version)


def _disk() -> Finding:
    import shutil

    from edgekit import cache

    folder = cache.folder()
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    free = shutil.disk_usage(there).free / 1e6
    used = sum(entry.bytes for entry in cache.usage()) / 1e6
    words = f"{folder}: {free / 1000:.1f} GB free, {used:.1f} MB used by edgekit"
    if not os.access(there, os.W_OK):
        return Finding("cache", "broken", f"{folder} cannot be written", "set EDGEKIT_CACHE_DIR to a folder of yours")
    if free < LEAST_FREE_MB:
        return Finding("cache", "broken", words, "free some space, or set EDGEKIT_CACHE_DIR to another disk")
    if free < COMFORTABLE_FREE_MB:
        return Finding("cache", "warning", f"{words}: little for larger models", "edgekit cache clear")
    return Finding("cache", "ok", words)


def _targets() -> Iterator[Finding]:
    from edgekit.errors import EdgekitError
    from edgekit.target import target

    known = target.available()
    faults = []
    for path in known.values():
        try:
            target.load(str(path))
        except EdgekitError as error:
            faults.append(Finding("targets", "warning", error.message, error.hint or f"mend or remove {path}"))
    yield from faults
    if not known:
        yield Finding("targets", "broken", "no target file was found", "pip install --force-reinstall edgekit")
    elif not faults:
        yield Finding("targets", "ok", f"{len(known)} known")


def _telemetry() -> Finding:
    from edgekit import catalog

    of_runtimes = [name.replace("_", "-") for runtime in catalog.runtimes().values() for name in runtime.telemetry]
    talkers = [name for name in ("onnxruntime", *of_runtimes, "huggingface-hub") if _requirement.installed(name)]
    if not talkers:
        return Finding("telemetry", "ok", "edgekit has none, and no package here has")
    words = f"edgekit has none, and switches off that of {', '.join(talkers)} before it imports them"
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1" or "onnxruntime" not in talkers
    hint = None if off else "for your other programs: export ORT_DISABLE_TELEMETRY=1"
    return Finding("telemetry", "ok", words, hint)


def _hub() -> Finding:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")
    home = os.environ.get("HF_HOME") or str(Path.home() / ".cache" / "huggingface")
    return Finding(
        "hub", "ok", f"{home}; {'offline: models come from there only' if offline else 'online for hf: models'}"
    )


def _child(code: str, *arguments: str) -> tuple[dict[str, Any] | None, str]:
    """Run `code` in a fresh Python; give what it found, or None and what went wrong."""
    command = [sys.executable, "-c", code, *arguments]
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=CHILD_SECONDS, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {CHILD_SECONDS} s"
    for line in done.stdout.splitlines():
        if line.startswith(_MARK):
            return json.loads(line[len(_MARK) :]), ""
    if done.returncode < 0:
        return None, f"it crashed with signal {-done.returncode}"
    last = [line for line in done.stderr.splitlines() if line.strip()]
    # The child ends with a traceback: its last line is "package.Class: message".
    return None, re.sub(r"^[\w.]+: ", "", last[-1]) if last else f"it ended with code {done.returncode}"
