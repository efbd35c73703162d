"""Translation beside its peers: ms a sentence and BLEU of the bundle that edgekit ships, of torch, optimum's two
classes and CTranslate2, greedy and with the model's own beams, in one run.

    python benchmarks/train_translation.py DATA MODEL                  # a checkpoint, val.csv and test.csv
    python benchmarks/translation.py MODEL --stage build               # environments, conversions and exports, kept
    python benchmarks/translation.py MODEL --out benchmarks/results    # the measurement alone, where all is built
    python benchmarks/translation.py MODEL --count 20 --rounds 2       # a first try

Every tool translates the same sentences of test.csv, one at a time, from text to text. In each round all tools
translate the same share of them, in an order drawn anew; only one works at a time, each in its own process and
environment. The time of a tool is the median of its rounds. The bundle was chosen on val.csv, within a point of BLEU.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from edgekit._record import digest_of_file
from edgekit.bench import environment
from edgekit.errors import EdgekitError
from edgekit.target import host
from edgekit.tasks import text_metrics
from models.place import BENCHMARKS, work, written_whole
from suite import tools
from suite.translation_table import ALLOWED, PEERS, Peer, Row, markdown, result

TRANSLATORS = BENCHMARKS / "suite" / "translators.py"
PACKAGES = ("torch", "transformers", "onnxruntime", "openvino", "optimum-onnx", "optimum-intel", "ctranslate2")
EXACT = ("torch", "edgekit-onnxruntime-f32", "edgekit-openvino-f32")
"""Of these the texts must be those of torch."""


class Failed(Exception):
    """A tool that was not built, or whose process ended."""


class Worker:
    """The process of a tool."""

    def __init__(self, peer: Peer, folder: Path, threads: int, log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log, python = log, tools.python_of(peer.environment)
        command = [str(python), str(TRANSLATORS), peer.kind, str(folder), str(threads), *PACKAGES]
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True, env=_variables(peer)
            )
        try:
            self.versions: dict[str, str] = self._line()["versions"]
        except Failed:
            self.close()
            raise

    def translate(self, texts: list[str], beams: int) -> dict[str, Any]:
        assert self._process.stdin is not None
        print(json.dumps({"texts": texts, "beams": beams}), file=self._process.stdin, flush=True)
        return self._line()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Failed(tools.last_lines(self._log))
        answer: dict[str, Any] = json.loads(line)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def _variables(peer: Peer) -> dict[str, str]:
    variables = tools.variables()
    ours = variables.pop("PYTHONPATH")  # the other environments have nothing of ours
    if peer.environment == tools.HERE:
        variables["PYTHONPATH"] = os.pathsep.join(filter(None, (ours, os.environ.get("PYTHONPATH"))))
    return variables


def build(peer: Peer, model: Path, place: Path) -> Path:
    """Return the folder that a tool translates with; it is made once."""
    if peer.convert is None and peer.candidates is None:
        return model
    folder = place / (peer.name if peer.candidates is not None else str(peer.convert))
    if folder.is_dir():
        return folder
    log = place / "logs" / f"{folder.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with written_whole(folder) as draft, log.open("w") as errors:
        if peer.convert is not None:
            command = [str(tools.python_of(peer.environment)), str(TRANSLATORS), peer.convert, str(model), str(draft)]
        else:
            command = [sys.executable, "-m", "edgekit.cli", "export", str(model), "--data", str(model / "val.csv")]
            command += ["--text-column", "de", "--label-column", "en", "--metric", "bleu", "--max-drop", str(ALLOWED)]
            command += ["--max-samples", "300", "--output", str(draft), "--force"]
            command += ["--candidate", peer.candidates, "--no-bench"] if peer.candidates else []
        began = time.monotonic()
        if subprocess.run(command, stdout=errors, stderr=errors, env=_variables(peer), check=False).returncode:
            raise Failed(tools.last_lines(log))
    print(f"{peer.title}: built in {time.monotonic() - began:.0f} s", file=sys.stderr)
    return folder


def detail(peer: Peer, folder: Path) -> str:
    """Return which candidate of ours was shipped."""
    if peer.candidates is None:
        return ""
    import edgekit

    shipped = edgekit.open(folder).report().shipped
    return "" if shipped is None else shipped.name


def measure(model: Path, place: Path, options: argparse.Namespace) -> tuple[list[Row], list[str], list[int]]:
    """Return a row for each tool, the references, and the numbers of beams."""
    with (model / "test.csv").open(encoding="utf-8", newline="") as file:
        pairs = [(row["de"], row["en"]) for row in csv.DictReader(file)][: options.count]
    beams = sorted({1, int(json.loads((model / "generation_config.json").read_text()).get("num_beams", 1))})
    draw = random.Random(options.seed)
    rows = []
    with ExitStack() as stack:
        workers: list[tuple[Row, Worker]] = []
        for peer in PEERS:
            try:
                folder = build(peer, model, place)
                worker = Worker(peer, folder, options.threads, place / "logs" / f"{peer.name}.log")
                stack.callback(worker.close)
                for count in beams:
                    worker.translate([source for source, _ in pairs[:3]], count)  # to warm up
            except (EdgekitError, Failed) as error:
                rows.append(Row(peer, {}, failure=str(error)))
                print(f"{peer.title} failed: {error}", file=sys.stderr)
                continue
            rows.append(Row(peer, worker.versions, detail(peer, folder)))
            workers.append((rows[-1], worker))
        for number in range(options.rounds):
            first, end = (part * len(pairs) // options.rounds for part in (number, number + 1))
            share = [source for source, _ in pairs[first:end]]
            turns = [(count, row, worker) for count in beams for row, worker in workers]
            draw.shuffle(turns)
            for count, row, worker in turns:
                row.add(count, worker.translate(share, count))
            print(f"round {number + 1} of {options.rounds}", file=sys.stderr, flush=True)
    return rows, [target for _, target in pairs], beams


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--count", type=int, default=500, help="sentences of test.csv")
    parser.add_argument("--rounds", type=int, default=5, help="each has its share of the sentences")
    parser.add_argument("--threads", type=int, default=host.probe().cores)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", choices=("build", "measure"), default="measure", help="the last stage to do")
    parser.add_argument("--out", type=Path, help="the folder for translation.md and translation.json")
    options = parser.parse_args()
    try:
        text_metrics.require("bleu")
    except EdgekitError as error:
        raise SystemExit(f"{error.message}\nhint: {error.hint}") from error
    model = options.model.absolute()
    place = work() / "translation" / digest_of_file(model / "model.safetensors")[:12]
    if options.stage == "build":
        for peer in PEERS:
            try:
                build(peer, model, place)
            except (EdgekitError, Failed) as error:
                print(f"{peer.title} failed: {error}", file=sys.stderr)
        return
    began, load = time.monotonic(), os.getloadavg()[0]
    rows, references, beams = measure(model, place, options)
    facts = {
        "command": " ".join(["python benchmarks/translation.py MODEL", *sys.argv[2:]]),
        "model": f"model.safetensors {digest_of_file(model / 'model.safetensors')[:12]}",
        "threads": options.threads,
        "load_before": load,
        "load_after": os.getloadavg()[0],
        "environment": environment(PACKAGES).to_dict(),
    }
    figures = result(rows, references, beams)
    page = markdown(figures, beams, len(references), facts)
    print(page)
    print(f"{time.monotonic() - began:.0f} s; work folder {work()}", file=sys.stderr)
    if options.out is not None:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "translation.md").write_text(page)
        (options.out / "translation.json").write_text(json.dumps({**facts, "rows": figures}, indent=1) + "\n")
    other = [row.peer.title for row in rows if row.peer.name in EXACT and row.texts != _torch(rows)]
    if other:
        raise SystemExit(f"other texts than torch's in full precision: {', '.join(other)}")


def _torch(rows: list[Row]) -> dict[int, list[str]]:
    return next(row.texts for row in rows if row.peer.name == "torch")


if __name__ == "__main__":
    main()
