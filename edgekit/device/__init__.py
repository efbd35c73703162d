"""Devices: how edgekit reaches them, what they are, and how it deploys to them."""

from __future__ import annotations

from edgekit import registry
from edgekit.device.lock.device_lock import DeviceLock
from edgekit.device.transport import Completed, Transport
from edgekit.errors import UsageError

__all__ = ["Completed", "DeviceLock", "Transport", "connect"]


def connect(address: str) -> Transport:
    """Return the transport to `address`: `ssh://[user@]host[:port]`, `local:`, or a form that a package added.

    Nothing is sent before the first command. Raises UsageError for an address of an unknown form.
    """
    scheme, colon, _ = address.partition(":")
    known = registry.names("transport")
    if not colon and scheme != "local":
        raise UsageError(
            f"'{address}' is not a device address: it has no scheme.",
            hint=f"write ssh://[user@]host[:port], or local: for this machine; known schemes: {', '.join(known)}",
        )
    transport: Transport = registry.transport(scheme)(address)
    return transport
