"""The errors behind OpenSSH's messages, each with what to do next. Its exit code is 255 for all of them."""

from __future__ import annotations

import re

from edgekit.errors import DeviceError

FAULTS: tuple[tuple[str, str, str], ...] = (
    (
        r"REMOTE HOST IDENTIFICATION HAS CHANGED|[Hh]ost key for .* has changed",
        "the host key of {address} differs from the known one.",
        "if the board was set up again: {forget}, then `{ssh} true` once; if not, another machine answers",
    ),
    (
        r"Host key verification failed|No \S+ host key is known",
        "the host key of {address} is not known yet, and edgekit does not accept it by itself.",
        "run `{ssh} true` once, compare the fingerprint with the board's, and answer yes",
    ),
    (
        r"UNPROTECTED PRIVATE KEY FILE",
        "ssh ignores a private key that others can read, so {address} refused the log-in.",
        "chmod 600 the key that ssh names: `{ssh} true`",
    ),
    (
        r"Too many authentication failures",
        "{address} closed the connection after too many keys were offered.",
        "name the right one in ~/.ssh/config: IdentityFile and IdentitiesOnly yes",
    ),
    (
        r"Permission denied",
        "{address} refused the log-in: {line}",
        "copy your key to the board: ssh-copy-id {target}, and check that `{ssh} true` works without a password",
    ),
    (
        r"Could not resolve hostname|Name or service not known|Temporary failure in name resolution",
        "the host name '{host}' is not known here.",
        "check its spelling and the network, or write the board's IP address",
    ),
    (
        r"Connection refused",
        "{address} refuses connections: the machine answers, but no SSH server listens on that port.",
        "on the board: sudo systemctl enable --now ssh; for another port write ssh://host:PORT",
    ),
    (
        r"No route to host|Network is unreachable|Host is down",
        "no route leads to {address}: {line}",
        "check that the board is powered and on this network: ping {host}",
    ),
    (
        r"Timeout, server .* not responding",
        "{address} stopped answering, and the connection was closed.",
        "check the board's power and network; what runs there ends by its time limit, and the next run cleans up",
    ),
    (
        r"timed out",
        "{address} does not answer: {line}",
        "check that the board is powered, on this network and not hung: ping {host}",
    ),
    (
        r"no matching (host key type|key exchange method|cipher|MAC)|no mutual signature",
        "{address} and this machine's ssh have no algorithm in common: {line}",
        "update the board's SSH server, or allow what it offers for this host in ~/.ssh/config",
    ),
    (
        r"Bad configuration option|Bad owner or permissions|terminating, \d+ bad configuration|Can't open user config",
        "ssh does not accept its configuration: {line}",
        "correct that file; `{ssh} true` shows the same message",
    ),
    (
        r"[Bb]roken pipe|Connection reset|closed by|Connection closed|Shared connection|read from master failed",
        "{address} closed the connection {when}.",
        "the board may have rebooted, lost power or run out of memory; try again: the next run cleans up what is left",
    ),
)
"""Pattern, message, hint; the first match is reported."""

SILENT = r"not responding|timed out|No route|unreachable"
"""In the messages about a device that will not answer further commands either."""


def error_of(messages: str, address: str, host: str, *, during: bool) -> DeviceError:
    """Return the error in ssh's messages; `during` is whether the connection was established already."""
    target = address.removeprefix("ssh://").rstrip("/")
    name, _, port = target.rpartition(":") if re.search(r":\d+$", target) else (target, "", "")
    # Debian's ssh prints the command that removes the old key, with the path of the user's file.
    forget = re.search(r"^\s*(ssh-keygen .*-R .*)$", messages, re.MULTILINE)
    names = {
        "address": address,
        "host": host,
        "forget": forget[1] if forget else f"ssh-keygen -R '[{host}]:{port}'" if port else f"ssh-keygen -R '{host}'",
        "target": f"-p {port} {name}" if port else name,
        "ssh": f"ssh -p {port} {name}" if port else f"ssh {name}",
        "when": "in the middle of a command" if during else "before the log-in was done",
    }
    for pattern, message, hint in FAULTS:
        if match := re.search(f"^.*(?:{pattern}).*$", messages, re.MULTILINE):
            line = re.sub(r"^(ssh|kex_\w+|mux_\w+): ", "", match[0].strip())
            text = message.format(line=line.rstrip(".") + ".", **names)
            silent = bool(re.search(SILENT, line))
            return DeviceError(text, hint=hint.format(**names), messages=messages, silent=silent)
    lines = [line.strip() for line in messages.splitlines() if line.strip()]
    last = lines[-1] if lines else "ssh gave no reason"
    return DeviceError(
        f"the connection to {address} failed {names['when']}: {last}.".replace("..", "."),
        hint=f"`{names['ssh']} true` shows more",
        messages=messages,
    )
