"""The transport `local`: this machine, through the same shell scripts as any other device."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.device.shell import Shell, ShellResult
from edgekit.errors import DeviceError, UsageError


class Local(Shell):
    """This machine as a device: `local:`."""

    api = 2
    scheme = "local"

    def __init__(self, address: str) -> None:
        if address not in ("local", "local:"):
            raise UsageError(f"'{address}' is not an address of this machine.", hint="write local:")
        self.address = address

    def command(self, words: Sequence[str]) -> list[str]:
        return list(words)

    def lost(self, result: ShellResult) -> DeviceError:
        return DeviceError(
            f"a command on {self.address} was killed before its exit code was known: {result.returncode}.",
            hint="see whether memory ran out: dmesg | tail",
        )
