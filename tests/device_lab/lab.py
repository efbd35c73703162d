"""The emulated boards of one run of the tests."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.device_lab import image
from tests.device_lab.board import EmulatedBoard
from tests.device_lab.wire import WiredBoard


class Lab:
    """The boards of one run of the tests, below a folder that keeps the downloads for the next run.

    `config` is the SSH client's config, for EDGEKIT_SSH_CONFIG: it has the name, the key and the host key of every
    board. Raises Unavailable, with the reason, where no board can be emulated.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = image.image(folder)
        for old in folder.glob("run-*"):
            if not Path(f"/proc/{old.name.split('-')[1]}").exists():
                shutil.rmtree(old, ignore_errors=True)
        self.run = Path(tempfile.mkdtemp(prefix=f"run-{os.getpid()}-", dir=folder))
        self.run.chmod(0o755)
        self.config = self.run / "ssh_config"
        self.config.write_text(f"Include {self.run}/*/client/config\n")
        self._boards: dict[str, EmulatedBoard] = {}

    def board(self, cpu: str) -> EmulatedBoard:
        """Return the running board of a processor (`cortex-a53`, `cortex-a72`, `cortex-a76`), always the same one."""
        if cpu not in self._boards:
            self._boards[cpu] = EmulatedBoard(self.folder, self.run, self.image, cpu, name=cpu).__enter__()
        return self._boards[cpu]

    def spare(self, cpu: str = "cortex-a72", *, tmp_kb: int = 65536) -> EmulatedBoard:
        """Return a new board, for a test that breaks it: `with lab.spare() as board`."""
        name = f"spare-{len(list(self.run.glob('spare-*')))}"
        return EmulatedBoard(self.folder, self.run, self.image, cpu, name=name, tmp_kb=tmp_kb)

    def wired(self) -> WiredBoard:
        """Return a new board whose cable can be pulled. Raises Unavailable where this machine cannot have one."""
        return WiredBoard(self.folder, self.run, self.image, "cortex-a72", name="wired")

    def wheels(self, *requirements: str) -> Path:
        """Return a folder of wheels for the boards, with their dependencies: `onnxruntime==1.21.0`."""
        return image.wheels(self.folder, requirements)

    def close(self) -> None:
        for board in self._boards.values():
            board.__exit__()
        shutil.rmtree(self.run, ignore_errors=True)
