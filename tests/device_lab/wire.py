"""A board at the end of a cable: its SSH server is in its own network, behind a virtual Ethernet."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from tests.device_lab.board import EmulatedBoard
from tests.device_lab.image import Image, Unavailable


class WiredBoard(EmulatedBoard):
    """An emulated board whose cable can be pulled. It needs root. The addresses are of the range for such tests."""

    def __init__(self, lab: Path, run: Path, image: Image, cpu: str, *, name: str) -> None:
        if os.getuid() != 0 or shutil.which("ip") is None:
            raise Unavailable("a virtual Ethernet needs root and iproute2")
        self._net = f"198.18.{os.getpid() % 250}"
        self._here = f"ek{os.getpid()}"
        self._network: subprocess.Popen[bytes] | None = None
        super().__init__(lab, run, image, cpu, name=name, host=f"{self._net}.2")

    def serve(self) -> None:
        command = ["setpriv", "--pdeathsig=KILL", "unshare", "-n", "sh", "-c", "echo ready; exec sleep infinity"]
        self._network = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
        )
        assert self._network.stdout is not None  # it is a pipe
        self._network.stdout.readline()
        pid = str(self._network.pid)
        self.network = ("nsenter", "-t", pid, "-n", "--")
        try:
            _ip("link", "add", self._here, "type", "veth", "peer", "name", "cable", "netns", pid)
            _ip("addr", "add", f"{self._net}.1/30", "dev", self._here)
            _ip("link", "set", self._here, "up")
            for words in (("addr", "add", f"{self._net}.2/30", "dev", "cable"), ("link", "set", "lo", "up")):
                _ip(*words, inside=self.network)
        except subprocess.CalledProcessError as error:
            raise Unavailable(f"no virtual Ethernet: {error.stderr.decode().strip()}") from error
        self.plug()
        super().serve()

    def plug(self) -> None:
        """Put the cable in."""
        _ip("link", "set", "cable", "up", inside=self.network)

    def unplug(self) -> None:
        """Pull the cable: no packet passes either way, and neither side is notified."""
        _ip("link", "set", "cable", "down", inside=self.network)

    def stop_serving(self) -> None:
        super().stop_serving()
        if self._network is not None:  # both ends of the cable go with the network
            self._network.kill()
            self._network.communicate()
            self._network = None


def _ip(*words: str, inside: tuple[str, ...] = ()) -> None:
    subprocess.run([*inside, "ip", *words], check=True, capture_output=True)
