"""Where target files are searched for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.errors import UsageError
from edgekit.target import search_path, target
from tests.target.files import BUILTIN, write
from tests.wording import raises


def test_search_order(elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put one name everywhere, and take the places away one by one."""
    package = tmp_path / "site"
    write(package / "their_boards", "xeon", 'summary = "package"')
    (package / "their_boards" / "__init__.py").write_text("raise RuntimeError('targets are data: this is never run')\n")
    info = package / "their_boards-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: their-boards\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgekit.targets]\ntheirs = their_boards\n")
    monkeypatch.syspath_prepend(package)
    monkeypatch.setenv("EDGEKIT_TARGETS", os.pathsep.join([str(tmp_path / "one"), "", str(tmp_path / "two")]))
    config = Path(os.environ["XDG_CONFIG_HOME"]) / "edgekit" / "targets"
    explicit = write(tmp_path / "path", "xeon", 'summary = "path"')
    places = [
        ("cwd", write(elsewhere / "targets", "xeon", 'summary = "cwd"')),
        ("env one", write(tmp_path / "one", "xeon", 'summary = "env one"')),
        ("env two", write(tmp_path / "two", "xeon", 'summary = "env two"')),
        ("config", write(config, "xeon", 'summary = "config"')),
        ("package", package / "their_boards" / "xeon.toml"),
    ]
    assert target.load(str(explicit)).summary == "path"
    for summary, path in places:
        assert target.load("xeon").summary == summary
        assert target.available()["xeon"].resolve() == path.resolve()
        path.unlink()
    assert target.load("xeon").summary.startswith("Intel Xeon")


def test_half_removed_package_does_not_hide_the_others(
    elsewhere: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    info = tmp_path / "site" / "gone-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: gone\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[edgekit.targets]\ngone = gone_boards.targets\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert set(target.available()) == BUILTIN


def test_in_the_checkout_the_folder_is_the_built_ins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(search_path.builtin().parent)
    assert [why for why, _ in search_path.folders()].count("the working directory") == 0
    assert target.load("jetson-orin-nano").device.sm == "8.7"


def test_unknown_target_names_the_nearest_and_the_places(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_TARGETS", "/boards/of/ours")
    places = ["targets (", "/boards/of/ours", "config", str(search_path.builtin())]
    with raises(UsageError, ("'rasberry-pi5'", "'raspberry-pi-5'"), hint=places):
        target.load("rasberry-pi5")


def test_listing_imports_nothing_heavy(elsewhere: Path) -> None:
    code = "import sys; from edgekit import target; target.load('jetson'); print('numpy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_a_user_without_a_home_has_the_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setenv("EDGEKIT_TARGETS", "~nobody-of-this-name/targets")
    monkeypatch.setattr(Path, "home", nobody)
    assert target.load("host").name == "host"
    with raises(UsageError, "'~nobody-of-this-name/x.toml'", hint="edgekit targets"):
        target.load("~nobody-of-this-name/x.toml")
