"""Read a device's hardware and software by one shell script, before anything is installed there.

The script needs a POSIX shell, `od` and `head` (coreutils or busybox), neither edgekit nor Python. Files are sent as
hexadecimal digits, as the device tree contains NULs; the last line marks a complete report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgekit.device.environment.interpreter import Interpreter, program
from edgekit.device.transport import Transport
from edgekit.errors import DeviceError

FILES = (
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/vmstat",
    "/proc/sys/kernel/osrelease",
    "/proc/self/cgroup",
    "/proc/device-tree/model",
    "/proc/device-tree/compatible",
    "/etc/os-release",
    "/usr/lib/os-release",
    "/etc/nv_tegra_release",
    "/sys/devices/virtual/dmi/id/product_name",
    "/sys/devices/virtual/dmi/id/sys_vendor",
    "/sys/hypervisor/type",
    "/sys/fs/cgroup/cpu/cpu.cfs_quota_us",
    "/sys/fs/cgroup/cpu/cpu.cfs_period_us",
    "/sys/fs/cgroup/memory/memory.limit_in_bytes",
)

SCRIPT = r"""
put() {
  [ -f "$1" ] && [ -r "$1" ] || return 0
  echo "file $1"; head -c 131072 "$1" 2>/dev/null | od -An -v -tx1
}
fact() { [ -n "$2" ] && printf 'fact %s %s\n' "$1" "$2"; }
for file in FILES; do put "$file"; done
for folder in /sys/bus/pci/devices/*; do put "$folder/vendor"; put "$folder/class"; done
for file in /sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do put "$file"; done
group=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null)
while [ -n "$group" ]; do
  put "/sys/fs/cgroup${group%/}/memory.max"; put "/sys/fs/cgroup${group%/}/cpu.max"
  [ "$group" = / ] && break
  group=${group%/*}; group=${group:-/}
done
fact machine "$(uname -m)"
fact bits "$(getconf LONG_BIT 2>/dev/null)"
fact libc "$(getconf GNU_LIBC_VERSION 2>/dev/null || ls /lib/ld-musl-* 2>/dev/null | head -n 1)"
fact exe "$(readlink /proc/thread-self/exe 2>/dev/null)"
fact home "$HOME"
fact user "$(id -u)"
fact disk_free_kb "$(df -Pk "$HOME" 2>/dev/null | { read -r _; read -r _ _ _ kb _; echo "$kb"; })"
for library in libnvinfer11 libnvinfer10 libnvinfer8; do
  fact tensorrt "$(dpkg-query -W -f '${Version}' $library 2>/dev/null)" && break
done
for tool in /usr/src/tensorrt/bin/trtexec /usr/bin/trtexec; do [ -x "$tool" ] && fact trtexec "$tool"; done
fact power_mode "$(nvpmodel -q 2>/dev/null </dev/null | tr '\n' ' ')"
fact gpu "$(nvidia-smi --query-gpu=name,compute_cap,driver_version --format=csv,noheader 2>/dev/null </dev/null |
  head -n 1)"
seen=" "
for python in "$2" "$(command -v python3)" /usr/local/bin/python3.1[0-9] /usr/bin/python3.1[0-9] /opt/*/bin/python3 \
  "$HOME"/.local/bin/python3.1[0-9] "$HOME"/.pyenv/versions/*/bin/python3 "$HOME"/mini*/bin/python3; do
  [ -n "$python" ] && [ -x "$python" ] || continue
  real=$(readlink -f "$python" 2>/dev/null || echo "$python")
  case $seen in *" $real "*) continue ;; esac
  seen="$seen$real "
  echo "python $python"
  "$python" -c "$1" </dev/null 2>/dev/null | while IFS= read -r line; do printf 'line %s\n' "$line"; done
done
echo complete
""".replace("FILES", " ".join(FILES))

TIMEOUT_S = 120.0
"""A Python's first start from a slow memory card takes seconds; there may be several."""


@dataclass(frozen=True)
class RawFacts:
    """The parsed report: files by path, single facts by name, and the Pythons that were found."""

    files: Mapping[str, bytes]
    facts: Mapping[str, str]
    pythons: tuple[Interpreter, ...]
    """In the order of preference: the one on the path first."""

    def write(self, root: Path) -> None:
        """Write the files as a tree below `root`, in the place of the device's own root."""
        for name, data in self.files.items():
            path = root / name.lstrip("/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

    def text(self, name: str) -> str:
        return self.files.get(name, b"").decode(errors="replace").replace("\0", "").strip()


def fetch(transport: Transport, *, python: str = "") -> RawFacts:
    """Return a device's report; the Python at the path `python` is listed before those that are found.

    Raises DeviceError when the report is incomplete.
    """
    done = transport.run(["/bin/sh", "-c", SCRIPT, "sh", program(), python], timeout_s=TIMEOUT_S)
    if done.text.rstrip().rpartition("\n")[2] != "complete":
        reason = done.stderr.decode(errors="replace").strip()[-300:]
        raise DeviceError(
            f"'{transport.address}' returned an incomplete hardware report{f': {reason}' if reason else ''}.",
            hint="the device needs a POSIX shell with od and head (coreutils or busybox)",
        )
    return parse(done.text)


def parse(output: str) -> RawFacts:
    """Return the facts in what SCRIPT printed."""
    files: dict[str, bytes] = {}
    facts: dict[str, str] = {}
    pythons = []
    for kind, head, body in _sections(output):
        if kind == "file":
            files[head] = bytes.fromhex("".join(body))
        elif kind == "fact":
            name, _, value = head.partition(" ")
            facts[name] = value.strip()
        elif kind == "python" and (python := Interpreter.read("\n".join(body), head)) is not None:
            pythons.append(python)
    # A shim leads to one that is listed by its own name too.
    return RawFacts(files, facts, tuple({python.real: python for python in reversed(pythons)}.values())[::-1])


def _sections(output: str) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each `file`, `fact` and `python` line with the lines that belong to it."""
    kind, head, body = "", "", list[str]()
    for line in output.splitlines():
        word, _, rest = line.partition(" ")
        if word in ("file", "fact", "python", "complete"):
            if kind:
                yield kind, head, body
            kind, head, body = word, rest, []
        elif word == "line":
            body.append(rest)
        else:
            body.append(line)
    if kind:
        yield kind, head, body
