"""Packages of this installation for a device: built from an editable installation, copied from another."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

from edgekit.device.environment import local_packages
from edgekit.errors import EnvironmentFault
from tests.wording import raises


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_edgekit_and_its_plugin_are_built_the_same_twice(tmp_path):
    for name in ("edgekit", "edgekit-onnxruntime"):
        built = []
        for folder in ("a", "b"):
            (tmp_path / folder).mkdir(exist_ok=True)
            built.append(local_packages.copy(name, tmp_path / folder))
        assert contents(built[0]) == contents(built[1]), "a device would be sent it again"
    assert {"edgekit/plugin.py", "edgekit/targets/host.toml"} <= contents(tmp_path / "a" / "edgekit-0.1.0").keys()
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["edgekit-0.1.0", "edgekit-onnxruntime-0.1.0"]


def test_what_was_installed_from_a_wheel_is_copied(tmp_path):
    """click is installed from a wheel: the copy has the installed files, and can be imported from where it is."""
    copy = local_packages.copy("click", tmp_path)
    assert copy.name == f"click-{distribution('click').version}"
    files = contents(copy)
    assert "click/core.py" in files
    assert not [name for name in files if name.endswith((".pyc", "INSTALLER", "direct_url.json")) or ".." in name]
    code = "import click, importlib.metadata as m; print(click.__file__, m.version('click'))"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], env={"PYTHONPATH": str(copy)}, capture_output=True, text=True
    )
    assert done.stdout.split() == [str(copy / "click" / "__init__.py"), distribution("click").version]


def test_compiled_packages_of_this_machine_are_not_copied(tmp_path):
    with raises(EnvironmentFault, "'numpy'", hint="--bootstrap"):
        local_packages.copy("numpy", tmp_path)


def test_a_package_that_is_not_installed_is_an_error(tmp_path):
    with raises(EnvironmentFault, "'no-such-package'", hint="pip install no-such-package"):
        local_packages.copy("no-such-package", tmp_path)


def test_a_package_that_exists_is_kept_in_its_version(tmp_path):
    for site, version in (("first", "1.0"), ("second", "2.0")):
        info = tmp_path / site / f"Made_Up-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: Made_Up\nVersion: {version}\n")
        (info / "RECORD").write_text(f"{info.name}/METADATA,,\n../../bin/made-up,,\n{info.name}/RECORD,,\n")
    (tmp_path / "out").mkdir()
    assert [folder.name for folder in local_packages.split(tmp_path / "first", tmp_path / "out")] == ["made-up-1.0"]
    assert local_packages.split(tmp_path / "second", tmp_path / "out") == ()
    assert contents(tmp_path / "out").keys() == {"made-up-1.0/Made_Up-1.0.dist-info/METADATA"}
