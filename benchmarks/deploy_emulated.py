"""Deploy real bundles to emulated ARM boards over SSH: what arrives, what it computes, and what is left behind.

    python benchmarks/deploy_emulated.py [resnet20 minilm-32] [--output FILE.md]

Each model is exported for `raspberry-pi-4` in fp32 and in static int8, and deployed to a Cortex-A53, -A72 and -A76 at
once, which get their private environments by the first deployment. The seconds are those of this machine's work, the
emulation's included: they say nothing about a board. Last, a version of ONNX Runtime is asked for that dies on two of
the three processors. It needs what the device lab of the tests needs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from edgekit.bundle import bundle as artifact  # noqa: E402
from edgekit.cli.deploy_table import state  # noqa: E402
from edgekit.cli.progress import Lines, Prefixed  # noqa: E402
from edgekit.device import deploy  # noqa: E402
from edgekit.device.deploy import Outcome, Settings  # noqa: E402
from edgekit.device.fleet import Device  # noqa: E402
from models.catalogue import prepare  # noqa: E402
from models.place import work  # noqa: E402
from models.subject import Rows, Subject  # noqa: E402
from tests.device_lab import image  # noqa: E402
from tests.device_lab.board import CPUS  # noqa: E402
from tests.device_lab.lab import Lab  # noqa: E402

RECIPES = ("fp32", "int8-static")
TARGET = "raspberry-pi-4"
FAULTY = "onnxruntime==1.21.0"
HEADER = ("bundle", "processor", "result", "rel. L2 here", "rel. L2 there", "MB sent", "s", "files left")


def bundle(name: str, recipe: str) -> Path:
    """Export one candidate, once; give its bundle."""
    path = work() / "deploy" / f"{name}-{recipe}"
    if not (path / "manifest.json").is_file():
        folder = prepare(name)
        subject = Subject.load(folder)
        options = [word.replace("{folder}", str(folder)) for word in subject.export]
        command = [sys.executable, "-m", "edgekit.cli", "export", subject.reference, "--target", TARGET]
        task = [] if "sentence" in subject.task else ["--task", subject.task]
        wanted = ["--candidate", f"onnxruntime/{recipe}", "--no-mixed", "--max-drop", "0.02", "-q", "--json"]
        inputs = [word for spec in subject_inputs(folder, subject) for word in ("--input", spec)]
        words = [*command, *task, *inputs, *options, *wanted, "--output", str(path), "--force"]
        subprocess.run(words, check=True, cwd=HERE, stdout=subprocess.DEVNULL)
    return path


def subject_inputs(folder: Path, subject: Subject) -> Sequence[str]:
    """Return the inputs of a plain module, as its samples say."""
    return [str(spec) for spec in Rows.load(folder / "calibration.npz").specs] if subject.kind == "factory" else ()


def rows(lab: Lab, bundles: Sequence[Path]) -> list[tuple[str, ...]]:
    """Deploy each bundle to all processors at once; the last deployment removes everything."""
    boards = {cpu: lab.board(cpu) for cpu in CPUS}
    devices = [Device(cpu, board.address) for cpu, board in boards.items()]
    table, line = [], Lines(sys.stderr)
    jobs = [(path, Settings(bootstrap=True)) for path in bundles]
    jobs.append((bundles[0], Settings(bootstrap=True, bench=False, clean=True, pins=(FAULTY,))))
    for path, settings in jobs:
        here = artifact.open(path, check=False).manifest.deviation
        for outcome in deploy.deploy(path, devices, settings, progress=lambda outcome: Prefixed(line, outcome.name)):
            left = [file for file in boards[outcome.name].home.rglob("*") if file.is_file()]
            kept = "environment" if any("wheels" in file.parts for file in left) else str(len(left))
            name = f"{path.name}, {FAULTY}" if settings.pins else path.name
            table.append((name, outcome.name, words(outcome), f"{here:.1e}", there(outcome), *sent(outcome), kept))
    return table


def words(outcome: Outcome) -> str:
    return (
        state(outcome)
        if outcome.fault is None
        else f"{state(outcome)}: {str(outcome.fault['message']).partition(' (')[0]}"
    )


def there(outcome: Outcome) -> str:
    candidate = outcome.report.subject if outcome.report else None
    return f"{candidate.quality.rel_l2:.1e}" if candidate and candidate.quality else "-"


def sent(outcome: Outcome) -> tuple[str, str]:
    return f"{outcome.bytes_sent / 1e6:.1f}", f"{outcome.seconds:.0f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=["resnet20", "minilm-32"])
    parser.add_argument("--output", type=Path)
    given = parser.parse_args()
    bundles = [bundle(name, recipe) for name in given.models for recipe in RECIPES]
    lab = Lab(image.folder())
    os.environ["EDGEKIT_SSH_CONFIG"] = str(lab.config)
    try:
        table = rows(lab, bundles)
    finally:
        lab.close()
    lines = [f"| {' | '.join(row)} |" for row in (HEADER, ["---"] * len(HEADER), *table)]
    text = "\n".join(["# Deployments to emulated boards", "", (__doc__ or "").partition("\n\n")[0], "", *lines, ""])
    given.output.write_text(text) if given.output else print(text)


if __name__ == "__main__":
    main()
