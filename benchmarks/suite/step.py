"""One tool's work in its own environment: `python -m suite.step MAKER SUBJECT BASE OUT RESULT`."""

from __future__ import annotations

import json
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from suite import makers


def main(maker: str, subject: str, base: str, out: str, result: str, *packages: str) -> None:
    began = time.monotonic()
    artifact = getattr(makers, maker)(Path(subject), Path(base), Path(out))
    record = {"made": artifact.to_dict(), "seconds": time.monotonic() - began, "versions": _versions(packages)}
    Path(result).write_text(json.dumps(record, indent=1) + "\n")


def _versions(packages: tuple[str, ...]) -> dict[str, str]:
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions


if __name__ == "__main__":
    main(*sys.argv[1:])
