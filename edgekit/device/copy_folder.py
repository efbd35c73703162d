"""Copy a folder to a device: one stream, verified there by one command, complete or not at all."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from edgekit._record import digest_of_file
from edgekit.device import copy_errors
from edgekit.device.transport import Transport
from edgekit.errors import UsageError

LIST = r'cd -- "$1" 2>/dev/null || exit 0; find . -type f -exec sha256sum {} +'

STORE = r"""
to=$1 part=$1.edgekit-part need=$2 how=$3
trap 'rm -rf -- "$part"' EXIT
trap 'exit 1' HUP INT TERM PIPE
rm -rf -- "$part"; mkdir -p -- "$part" || exit 1
free=$(df -Pk -- "$part" | { read -r _; read -r _ _ _ kb _; echo "$kb"; })
case $free in
  ''|*[!0-9]*) ;;
  *) [ "$free" -ge "$need" ] || { echo "full $free"; exit 0; } ;;
esac
tar "$how" -o -f - -C "$part" || exit 1
cd -- "$part" || exit 1
while IFS= read -r file; do
  mkdir -p -- "$(dirname -- "$file")" || exit 1
  ln -- "$to/$file" "$file" 2>/dev/null || cp -- "$to/$file" "$file" || exit 1
done <.edgekit-keep
sha256sum -c .edgekit-sums >.edgekit-checked 2>/dev/null || {
  grep -v ': OK$' .edgekit-checked | { IFS= read -r line; echo "corrupt ${line%%: *}"; }
  exit 0
}
rm -f .edgekit-keep .edgekit-sums .edgekit-checked
cd .. && rm -rf -- "$to" && mv -- "$part" "$to" && echo stored
"""


def push(transport: Transport, source: Path, to: str, *, timeout_s: float, packed: bool = False) -> int:
    """Make `to` on the device equal to the folder `source`, and return the bytes of the files that were sent.

    Files that the device has already are not sent. The stream is `packed` for a device that has gzip: code shrinks to a
    third, weights stay as large as they are.

    Raises DeviceError when the device's disk is too small or a file arrives altered, UsageError for a folder that
    cannot be sent.
    """
    files = sorted(path.relative_to(source).as_posix() for path in source.rglob("*") if path.is_file())
    for name in files:
        if not name.isprintable() or "\\" in name:
            raise UsageError(f"'{source}' contains a file whose name cannot be sent: {name!r}.", hint="rename it")
    if not files:
        raise UsageError(f"'{source}' contains no file.", hint="name the folder of a bundle")
    digests = {name: digest_of_file(source / name) for name in files}
    present = _digests_there(transport, to, timeout_s)
    if present == digests:
        return 0
    keep = [name for name in files if present.get(name) == digests[name]]
    new = sorted(set(files) - set(keep))
    need_kb = sum(-(-(source / name).stat().st_size // 1024) for name in new) + 1024
    reads, writes = os.pipe()
    to_send = (os.fdopen(writes, "wb"), source, new, keep, digests, packed)
    writer = threading.Thread(target=_write, args=to_send, daemon=True)
    with os.fdopen(reads, "rb") as stream:
        writer.start()
        words = ["/bin/sh", "-c", STORE, "sh", to, str(need_kb), "-xz" if packed else "-x"]
        done = transport.run(words, timeout_s=timeout_s, stdin=stream)
    writer.join()
    answer = done.text.split(maxsplit=1)
    if done.returncode == 0 and answer == ["stored"]:
        return sum((source / name).stat().st_size for name in new)
    if answer[:1] == ["full"]:
        raise copy_errors.no_space(f"'{source.name}'", transport.address, need_kb, int(answer[1]))
    if answer[:1] == ["corrupt"]:
        raise copy_errors.altered(f"'{answer[1].strip()}' of '{source.name}'", transport.address)
    raise copy_errors.failed(f"'{source.name}' could not be written to '{to}'", transport.address, done)


def _digests_there(transport: Transport, to: str, timeout_s: float) -> dict[str, str]:
    """Return name to SHA-256 of the files below `to` on the device; empty where it does not exist."""
    done = transport.run(["/bin/sh", "-c", LIST, "sh", to], timeout_s=timeout_s)
    rows = (line.split(maxsplit=1) for line in done.text.splitlines())
    return {row[1].removeprefix("*").removeprefix("./"): row[0] for row in rows if len(row) == 2}


def _write(
    stream: IO[bytes], source: Path, new: Iterable[str], keep: Iterable[str], digests: Mapping[str, str], packed: bool
) -> None:
    """Write the tar stream. A device that stops reading raises nothing here: its own answer has the reason."""
    texts = {
        ".edgekit-keep": "".join(f"{name}\n" for name in keep),
        ".edgekit-sums": "".join(f"{digest}  {name}\n" for name, digest in digests.items()),
    }
    try:
        with contextlib.ExitStack() as stack:
            raw = stack.enter_context(stream)
            out = stack.enter_context(gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=4)) if packed else raw
            tar = stack.enter_context(tarfile.open(fileobj=out, mode="w|", format=tarfile.GNU_FORMAT))
            for name, text in texts.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text.encode())
                tar.addfile(entry, io.BytesIO(text.encode()))
            for name in new:
                tar.add(source / name, arcname=name, recursive=False, filter=_without_owner)
    except BrokenPipeError:
        pass


def _without_owner(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return the entry without the file's owner here: on the device it belongs to the device's user."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry
