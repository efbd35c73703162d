"""Write the locks again: `make lock` resolves the projects' ranges for every Python and platform, into `locks/`.

Pins that still fit are kept; delete a line, or the file, to move it. Needs uv, which `make lock` installs into `.venv`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = tuple(sorted(path.parent for path in ROOT.glob("plugins/*/pyproject.toml")))
LOCKS = {
    "build": (
        "build,cli,metrics,tables,dev",
        "[build,genai]",
        "everything: the build side, the plugins, and what tests and checks need",
    ),
    "device": ("tasks", "", "the device side: edgekit and its plugins, to run and measure bundles"),
}

# What only torch's CUDA build needs: torch pins these itself, and naming them would force them on a CPU build.
CUDA = re.compile(r"(nvidia|cuda|triton)\b")


def main() -> None:
    for name, (extras, of_plugins, summary) in LOCKS.items():
        target = ROOT / "locks" / f"{name}.txt"
        with tempfile.NamedTemporaryFile("w", suffix=".in") as wanted:
            wanted.write(
                "".join(
                    f"-e {path}\n" for path in (f"{ROOT}[{extras}]", *(f"{plugin}{of_plugins}" for plugin in PLUGINS))
                )
            )
            wanted.flush()
            command = [
                sys.executable,
                "-m",
                "uv",
                "pip",
                "compile",
                "--quiet",
                "--universal",
                "--python-version",
                "3.10",
            ]
            command += ["--no-header", "--no-annotate", "--output-file", str(target), wanted.name]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        pins = [line for line in target.read_text().splitlines() if not line.startswith(("-e", "#"))]
        kept = [line for line in pins if not CUDA.match(line)]
        target.write_text(f"# {summary}.\n# Written by `make lock` for Python 3.10 to 3.14.\n" + "\n".join(kept) + "\n")
        print(f"locks/{name}.txt: {len(kept)} pins", file=sys.stderr)


if __name__ == "__main__":
    main()
