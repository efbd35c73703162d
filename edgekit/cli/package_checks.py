"""Checks of the plugins and packages for `edgekit doctor`.

Nothing heavy is imported in this process: metadata is read, and runtimes are imported in a child process.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from typing import Any

from edgekit import _requirement
from edgekit._process import python
from edgekit.cli.finding import Finding

BUILD = "build"
"""The extra with everything that an export needs besides the core and a plugin."""
BUILD_MISSING = "build packages"
CHILD_SECONDS = 60

MARK = "edgekit-doctor:"
_PROBE = f"""
import json, sys
from edgekit import registry
print({MARK!r} + json.dumps(registry.backend(sys.argv[1]).probe().to_dict()))
"""
_IMPORT = f"""
import importlib, sys
from edgekit._privacy import no_telemetry
no_telemetry()
importlib.import_module(sys.argv[1])
print({MARK!r} + "{{}}")
"""
_MODULES = {"torch": "torch", "transformers": "transformers", "optimum-onnx": "optimum.exporters.onnx", "onnx": "onnx",
            "onnxruntime": "onnxruntime", "torchvision": "torchvision", "timm": "timm"}  # fmt: skip


def plugins() -> Iterator[Finding]:
    """Yield a finding for each installed backend, probed in a child process."""
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
        yield Finding("plugins", "broken", "no backend works here, so nothing can be built or run", lines)


def _plugin(name: str, owner: str) -> Finding:
    probe, fault = child(_PROBE, name)
    if probe is None:
        return Finding(
            f"plugin {name}", "broken", f"{owner}: {fault}", f"pip install --force-reinstall {owner.split()[0]}"
        )
    versions = ", ".join(f"{package} {version}" for package, version in probe["versions"].items())
    words = f"{owner}; {versions}; devices: {', '.join(probe['devices']) or 'none'}"
    if not probe["available"]:
        # A backend for another device, such as TensorRT on a machine without a GPU, is not a fault of this machine.
        return Finding(f"plugin {name}", "warning", f"{owner}: {'; '.join(probe['problems'])}", probe["hint"])
    return Finding(f"plugin {name}", "ok", words)


def build_packages() -> Iterator[Finding]:
    """Yield a finding for each build package: whether its version meets edgekit's requirements and those of the
    others.
    """
    pins = {wanted.name: wanted for wanted in _requirement.of("edgekit", BUILD) if wanted.name != "edgekit"}
    present = [name for name in pins if _requirement.installed(name) is not None]
    missing = [name for name in pins if name not in present]
    if missing and not set(present) - _device_packages():
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


def _device_packages() -> set[str]:
    """Return the packages that a device has too: those that the core, the small extras and the plugins require."""
    from edgekit import registry

    owners = [("edgekit", None), ("edgekit", "tasks"), ("edgekit", "cli")]
    owners += [(registry.distribution("backend", name).split()[0], None) for name in registry.names("backend")]
    packages: set[str] = set()
    waiting = {wanted.name for owner, extra in owners for wanted in _requirement.of(owner, extra)}
    while waiting:  # their own requirements are installed too: tokenizers requires huggingface-hub
        name = waiting.pop()
        packages.add(name)
        waiting |= {wanted.name for wanted in _requirement.of(name)} - packages
    return packages


def _lower_bound_first(item: tuple[str, set[str]]) -> tuple[bool, str]:
    return item[0].startswith("<"), item[0]


def _clauses(owners: tuple[str, ...]) -> dict[str, dict[str, set[str]]]:
    """Return the version clauses of each required package, and the packages that ask for each clause."""
    clauses: dict[str, dict[str, set[str]]] = {}
    for owner in owners:
        lines = [*_requirement.of(owner), *(_requirement.of(owner, BUILD) if owner == "edgekit" else ())]
        for wanted in lines:
            for clause in wanted.clauses:
                clauses.setdefault(wanted.name, {}).setdefault(clause, set()).add(owner)
    return clauses


def imports() -> Iterator[Finding]:
    """Yield a finding for each installed build package, imported in a child process."""
    for package, module in _MODULES.items():
        if _requirement.installed(package) is None:
            continue
        answer, fault = child(_IMPORT, module)
        needed = package not in ("torchvision", "timm")
        if answer is not None:
            yield Finding(f"import {module}", "ok", "it imports")
            continue
        hint = (
            f"pip install --force-reinstall {package}"
            if needed
            else f"pip uninstall {package} (transformers fails with it)"
        )
        yield Finding(f"import {module}", "broken", fault, hint)


def optional_packages() -> Iterator[Finding]:
    """Yield a finding for each optional package that a device may need."""
    listed = {wanted.name for wanted in _requirement.of("edgekit", BUILD)}
    for package, purpose, extra in (
        ("pillow", "read images", "tasks"),
        ("tokenizers", "read texts", "tasks"),
        ("soundfile", "read sounds", "audio"),
        ("rich", "draw progress on a terminal", "cli"),
    ):
        version = _requirement.installed(package)
        if version is None:
            yield Finding(
                package, "warning", f"not installed: edgekit cannot {purpose}", f"pip install 'edgekit[{extra}]'"
            )
        elif package not in listed:
            yield Finding(package, "ok", version)


def child(code: str, *arguments: str) -> tuple[dict[str, Any] | None, str]:
    """Run `code` in a new Python process and return the JSON it printed after MARK, or None and what went wrong."""
    environment = {**os.environ, "ORT_DISABLE_TELEMETRY": "1"}
    try:
        completed = subprocess.run(
            python(code, *arguments),
            capture_output=True,
            text=True,
            timeout=CHILD_SECONDS,
            env=environment,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None, f"no answer within {CHILD_SECONDS} s"
    for line in completed.stdout.splitlines():
        if line.startswith(MARK):
            return json.loads(line[len(MARK) :]), ""
    if completed.returncode < 0:
        return None, f"it crashed with signal {-completed.returncode}"
    last = [line for line in completed.stderr.splitlines() if line.strip()]
    # The child ends with a traceback: its last line is "package.Class: message".
    return None, re.sub(r"^[\w.]+: ", "", last[-1]) if last else f"it ended with code {completed.returncode}"
