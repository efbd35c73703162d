"""Wheels of what is installed here: built of an editable installation, packed again of another."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgekit.device.environment import local_wheels
from edgekit.errors import EnvironmentFault


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_edgekit_and_its_plugin_are_built_the_same_twice(tmp_path):
    for name in ("edgekit", "edgekit-onnxruntime"):
        made = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            made.append(local_wheels.wheel(name, tmp_path / folder))
        assert digest(made[0]) == digest(made[1]), "a device would be sent it again"
    assert {"edgekit/plugin.py", "edgekit/targets/host.toml"} <= names(
        tmp_path / "a" / "edgekit-0.1.0-py3-none-any.whl"
    )


def test_an_installed_wheel_is_packed_again(tmp_path):
    """click is installed from a wheel: what is packed of it installs, and is what was installed."""
    packed = local_wheels.wheel("click", tmp_path)
    again = tmp_path / "again"
    again.mkdir()
    assert digest(local_wheels.wheel("click", again)) == digest(packed)
    held = names(packed)
    assert "click/core.py" in held
    assert not [name for name in held if name.endswith((".pyc", "INSTALLER", "direct_url.json")) or ".." in name]
    site = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps", "--target", str(site)]
    done = subprocess.run([*install, str(packed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    code = "import click, importlib.metadata as m; print(click.__file__, m.version('click'))"
    told = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(site)}, capture_output=True, text=True
    )
    assert str(site) in told.stdout


def test_compiled_packages_are_not_packed(tmp_path):
    with pytest.raises(EnvironmentFault, match=r"'numpy' .* cannot be carried"):
        local_wheels.wheel("numpy", tmp_path)


def test_what_is_not_installed_is_said(tmp_path):
    with pytest.raises(EnvironmentFault, match="'no-such-package' is not installed here"):
        local_wheels.wheel("no-such-package", tmp_path)
