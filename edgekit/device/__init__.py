"""Devices: how they are reached, what they are, and what their sensors say."""

from __future__ import annotations

from edgekit import registry
from edgekit.device.lock.device_lock import Board
from edgekit.device.transport import Completed, Transport
from edgekit.errors import UsageError

__all__ = ["Board", "Completed", "Transport", "connect"]


def connect(address: str) -> Transport:
    """Give the transport to `address`: `ssh://[user@]host[:port]`, `local:`, or one of an installed package's.

    Nothing is sent before the first command. Raises UsageError for an address of no known form.
    """
    scheme, colon, _ = address.partition(":")
    known = registry.names("transport")
    if not colon and scheme != "local":
        raise UsageError(
            f"'{address}' is no device address: it has no scheme.",
            hint=f"write ssh://[user@]host[:port], or local: for this machine; known schemes: {', '.join(known)}",
        )
    transport: Transport = registry.transport(scheme)(address)
    return transport
