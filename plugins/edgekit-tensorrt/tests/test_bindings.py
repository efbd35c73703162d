"""Every name of TensorRT's module that the plugin uses is in the real bindings of each version.

The bindings are small wheels on PyPI; their libraries are not. So a copy is loaded, in a process of its own, in which
the names of the missing libraries and functions are replaced by some that every Linux has: the module registers its
classes and enumerations, which can be read, but nothing of it can be called.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from edgekit_tensorrt.engine_builder import NAMES, OPTIONAL

SOURCE = Path(__file__).parent.parent / "edgekit_tensorrt"

WHEELS = {
    "10.3": "tensorrt-cu12-bindings==10.3.0",
    "10.16": "tensorrt-cu12-bindings==10.16.1.11",
    "11.4": "tensorrt-cu13-bindings==11.4.0.106",
    "rtx 1.7": "tensorrt-rtx-cu13-bindings==1.7.1.116",
}

CHILD = r"""
import importlib, json, re, sys, zipfile
from pathlib import Path

wheel, folder, names = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
zipfile.ZipFile(wheel).extractall(folder)
package = next(path for path in folder.iterdir() if path.name.endswith("_bindings"))
module = next(package.glob("tensorrt*.so"))
data = module.read_bytes()
absent = set(re.findall(rb"\0(lib(?:nv|tensorrt)[\w.]*\.so[.\d]*)(?=\0)", data))
stand_ins = {name: b"libm.so.6" for name in absent}
functions = rb"create\w+_INTERNAL|get(?:Builder)?PluginRegistry|getNvOnnxParserVersion|initLibNvInferPlugins"
stand_ins |= {name: b"abs" for name in set(re.findall(rb"\0(" + functions + rb")(?=\0)", data))}
for name, other in stand_ins.items():
    data = data.replace(b"\0" + name + b"\0", b"\0" + other.ljust(len(name), b"\0") + b"\0")
module.write_bytes(data)
sys.path.insert(0, str(folder))
trt = importlib.import_module(package.name)
missing = []
for owner, members in names.items():
    if not hasattr(trt, owner):
        missing.append(owner)
        continue
    missing += [f"{owner}.{name}" for name in members if not hasattr(getattr(trt, owner), name)]
print(json.dumps({"version": trt.__version__, "missing": missing}))
"""


def wheel(requirement: str) -> Path:
    """Return the wheel, downloaded once; skip where PyPI cannot be reached."""
    cache = Path(os.environ.get("EDGEKIT_LAB_DIR") or Path.home() / ".cache" / "edgekit-lab") / "bindings"
    folder = cache / f"{requirement}-cp{sys.version_info[0]}{sys.version_info[1]}"
    if not (wheels := list(folder.glob("*.whl"))):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary=:all:"]
        cache.mkdir(parents=True, exist_ok=True)
        download = Path(tempfile.mkdtemp(prefix="bindings.", dir=cache))
        done = subprocess.run([*command, "-d", download, requirement], capture_output=True, text=True, timeout=300)
        if "(from versions: " in done.stderr and "(from versions: none)" not in done.stderr:
            pytest.skip(f"{requirement} has no wheel for Python {sys.version_info[0]}.{sys.version_info[1]}")
        if done.returncode:
            pytest.skip(
                f"no bindings: {requirement} cannot be downloaded from PyPI: {done.stderr.strip().splitlines()[-1]}"
            )
        with contextlib.suppress(OSError):  # another worker was faster
            download.rename(folder)
        wheels = list(folder.glob("*.whl"))
    return wheels[0]


def missing_names(requirement: str, names: dict[str, tuple[str, ...]], folder: Path) -> dict:
    command = [sys.executable, "-c", CHILD, wheel(requirement), folder, json.dumps(names)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"the bindings do not load:\n{done.stderr}"
    return json.loads(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="the bindings are built for Linux")
@pytest.mark.parametrize("version", WHEELS)
def test_every_name_is_in_the_real_bindings(version, tmp_path):
    result = missing_names(WHEELS[version], NAMES, tmp_path)
    assert result["version"].startswith(version.removeprefix("rtx "))
    assert result["missing"] == [], f"TensorRT {version} lacks {', '.join(result['missing'])}"


def test_missing_names_are_found(tmp_path):
    """Names that 11 removed: a test that cannot fail proves nothing."""
    removed = {"BuilderFlag": ("FP16", "INT8", "TF32"), "IInt8Calibrator": ()}
    assert missing_names(WHEELS["10.3"], removed, tmp_path / "10")["missing"] == []
    assert missing_names(WHEELS["11.4"], removed, tmp_path / "11")["missing"] == [
        "BuilderFlag.FP16", "BuilderFlag.INT8", "IInt8Calibrator",
    ]  # fmt: skip


def test_what_is_optional_is_in_tensorrt_for_rtx(tmp_path):
    assert missing_names(WHEELS["rtx 1.7"], OPTIONAL, tmp_path)["missing"] == []


def test_the_list_holds_every_name_that_the_code_uses():
    """Collect them from the syntax trees: `trt.X`, `trt.X.Y`, and the members of TensorRT's objects that are used."""
    listed = {*NAMES, *OPTIONAL}
    members = {name for names in (*NAMES.values(), *OPTIONAL.values()) for name in names}
    used, of_objects = set(), set()
    objects = {
        "builder",
        "network",
        "parser",
        "config",
        "profile",
        "tensor",
        "error",
        "engine",
        "context",
        "inspector",
        "loaded",
    }
    for file in ("engine_builder.py", "session.py", "build_process.py"):
        for node in ast.walk(ast.parse((SOURCE / file).read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            owner = ast.unparse(node.value)
            if owner in ("trt", "self._trt"):
                used.add(node.attr)
            elif owner.rpartition(".")[2].lstrip("_") in objects and not owner.startswith(
                ("engine_builder", "engine_layers")
            ):
                of_objects.add(node.attr)
    assert used - {"__version__"} <= listed, "list what the code uses in engine_builder.NAMES"
    ours = {"message", "to_dict", "name", "exit_code", "hint", "is_file", "extend", "append"}
    assert of_objects - ours - {"sizes", "context"} <= members, (
        f"list {sorted(of_objects - ours - members)} in engine_builder.NAMES"
    )
