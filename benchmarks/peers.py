"""The suite against the peers: quality beside speed, every tool in its own environment, all timed in one run by turns.

    python benchmarks/peers.py --models minilm,resnet20 --tools all --out benchmarks/results
    python benchmarks/peers.py --models sst2 --tools edgekit,nncf --seconds 2 --rebuild edgekit
    python benchmarks/peers.py --models real --stage build      # environments and artifacts only

Three stages: build every artifact from the same checkpoint and calibration samples, judge each on the same labelled
samples, time all. The first two are kept below the work folder ($EDGEKIT_BENCH_DIR, or benchmarks/.work) under digests
of what decides them, so that an interrupted run goes on; a tool that failed is named in the table with its last words,
and tried again with --retry. Our artifact is chosen by measuring: make it anew with --rebuild edgekit where the machine
was busy then. Writes peers-MODEL.md, .json and .svg.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import signal
import sys
import time
from pathlib import Path

from edgekit._privacy import no_telemetry
from edgekit.cli.progress import for_terminal
from edgekit.errors import EdgekitError
from edgekit.target import host
from models.catalogue import CATALOGUE, names, prepare
from models.place import work
from suite import chart, run, table, tools

STAGES = ("build", "judge", "time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default="real", help=f"joined by commas: {', '.join(CATALOGUE)}; minilm, real, all")
    parser.add_argument("--tools", default="all", help=", ".join(tool.name for tool in tools.TOOLS))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results", help="where pages are written")
    parser.add_argument("--seconds", type=float, default=4.0, help="to time each artifact for")
    parser.add_argument("--threads", type=int, default=host.probe().cores)
    parser.add_argument("--stage", choices=STAGES, default="time", help="the last stage to do")
    parser.add_argument("--rebuild", default="", metavar="TOOLS", help="make the artifacts of these tools anew")
    parser.add_argument("--retry", action="store_true", help="try tools again that failed")
    parser.add_argument("--list", action="store_true", help="list the models and the tools, and stop")
    arguments = parser.parse_args()
    if arguments.list:
        print("\n".join(f"{name:<18}{entry.summary}" for name, entry in CATALOGUE.items()))
        print("\n".join(f"{tool.name:<18}{tool.title} ({tool.environment})" for tool in tools.TOOLS))
        return
    no_telemetry()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # as Ctrl-C does: the tool that runs is ended as well
    os.environ.update({name: value for name, value in tools.variables().items() if name != "PYTHONPATH"})
    try:
        chosen = tools.choose(arguments.tools)
        again = (
            [tool.name for tool in tools.choose(arguments.rebuild) if tool.name in arguments.rebuild.split(",")]
            if arguments.rebuild
            else []
        )
        for name in names(arguments.models):
            measure(name, chosen, arguments, again)
    except EdgekitError as error:
        raise SystemExit(f"{error.message}\nhint: {error.hint}") from error


def measure(name: str, chosen: list[tools.Tool], arguments: argparse.Namespace, again: list[str]) -> None:
    """Run one model through the stages and write its page."""
    began = time.monotonic()
    folder = prepare(name)
    with for_terminal(quiet=False, verbose=False) as progress:
        artifacts = run.build_all(chosen, folder, arguments.threads, progress, again=again, retry=arguments.retry)
        if arguments.stage == "build":
            return
        rows = run.judge_all(artifacts, folder, progress)
        if arguments.stage == "time":
            rows = run.time_all(artifacts, rows, folder, arguments.threads, arguments.seconds, progress)
    command = f"python benchmarks/peers.py {shlex.join(sys.argv[1:])}".strip()
    page = run.page(folder, rows, arguments.threads, arguments.seconds, command)
    arguments.out.mkdir(parents=True, exist_ok=True)
    stem = arguments.out / f"peers-{name}"
    text = table.markdown(page)
    print(text)
    print(f"{name}: {time.monotonic() - began:.0f} s; work folder {work()}", file=sys.stderr)
    if arguments.stage != "time":
        return
    stem.with_suffix(".md").write_text(text)
    stem.with_suffix(".json").write_text(json.dumps(page.to_dict(), indent=1) + "\n")
    stem.with_suffix(".svg").write_text(chart.draw(page))


if __name__ == "__main__":
    main()
