"""Files that are written whole or not at all, and what a killed process left of them."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgekit._files import claimed, hidden, remove_leftovers, replacing


def test_the_new_file_takes_the_old_ones_place(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with replacing(tmp_path / "a") as file:
        file.write_text("new")
        assert (tmp_path / "a").read_text() == "old"
    assert (tmp_path / "a").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "a") as file:
        file.write_text("ne")
        raise KeyboardInterrupt
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_the_next_write_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    code = f"""
    import os, pathlib
    from edgekit._files import replacing
    with replacing(pathlib.Path({str(tmp_path / "a[1]")!r})) as file:
        file.write_text("half")
        os.kill(os.getpid(), 9)
    """
    assert subprocess.run([sys.executable, "-c", textwrap.dedent(code)]).returncode == -9
    assert len(list(tmp_path.iterdir())) == 2, "the half and its lock"
    with replacing(tmp_path / "a[1]") as file:
        file.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["a[1]"]


def test_what_a_running_process_claims_stays(tmp_path: Path) -> None:
    for name in ("work.1.x", "work.x", "other"):
        (tmp_path / name).mkdir()
    with claimed(tmp_path, "work") as base:
        base.mkdir()
        remove_leftovers(tmp_path)
        assert base.is_dir()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "work.1.x", "work.x"]


def test_the_leftovers_of_a_name_are_not_those_of_a_longer_one(tmp_path: Path) -> None:
    with claimed(tmp_path, hidden(tmp_path / "out.x")) as base:
        kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
        left = base.with_name(".out.x.0123abcd")
        for path in (left, Path(f"{left}.lock"), Path(f"{left}.old")):
            path.write_bytes(b"")
        rescued: list[Path] = []
        remove_leftovers(tmp_path, hidden(tmp_path / "out"), rescued.append)
        assert not rescued and left.exists()
        remove_leftovers(tmp_path, hidden(tmp_path / "out.x"), rescued.append)
        assert rescued == [left] and {path: path.read_bytes() for path in tmp_path.iterdir()} == kept


@pytest.mark.parametrize("name", ["n" * 255, "\N{SNOWMAN}" * 85, "a[1]*" + "n" * 250, "\udcff" * 200])
def test_names_as_long_as_the_file_system_allows(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("old")
    with replacing(tmp_path / name) as file:
        file.write_text("new")
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "new"


NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc")


def namespaces() -> bool:
    return (
        shutil.which("unshare") is not None
        and subprocess.run([*NAMESPACE, "true"], capture_output=True).returncode == 0
    )


def test_processes_of_two_containers_leave_each_other_their_folders(tmp_path: Path) -> None:
    if not namespaces():
        pytest.skip("this user cannot make namespaces of processes")
    code = """
    import os, pathlib, sys, time
    from edgekit._files import claimed, remove_leftovers
    folder, place = pathlib.Path(sys.argv[1]), int(sys.argv[2])
    with claimed(folder, "work") as base:
        base.mkdir()
        (folder / f"ready{place}").touch()
        while len(list(folder.glob("ready*"))) < 2:
            time.sleep(0.01)
        remove_leftovers(folder, "work")
        (folder / f"cleared{place}").touch()
        while len(list(folder.glob("cleared*"))) < 2:
            time.sleep(0.01)
        assert base.is_dir() and os.getpid() == 1
    """
    command = [*NAMESPACE, sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    both = [subprocess.Popen([*command, str(place)]) for place in (1, 2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert not list(tmp_path.glob("work*"))


def test_a_killed_process_of_another_container_is_recognised(tmp_path: Path) -> None:
    if not namespaces():
        pytest.skip("this user cannot make namespaces of processes")
    code = f"""
    import os, pathlib
    from edgekit._files import claimed
    with claimed(pathlib.Path({str(tmp_path)!r}), "work") as base:
        base.mkdir()
        os._exit(9)
    """
    subprocess.run([*NAMESPACE, sys.executable, "-c", textwrap.dedent(code)])
    assert len(list(tmp_path.iterdir())) == 2
    remove_leftovers(tmp_path, "work")
    assert not list(tmp_path.iterdir())
