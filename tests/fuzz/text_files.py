"""Files of settings and records: project, recipe, target and fleet files in TOML, reports, plans and tasks in JSON."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

from edgekit import catalog, project
from edgekit._toml import tomllib
from edgekit.device import fleet
from edgekit.pipeline import planning
from edgekit.report import html, markdown, text
from edgekit.result.report import Report
from edgekit.tasks.config import TaskConfig
from tests.fuzz import bundles, mutate

ROOT = Path(__file__).parent.parent.parent
REPORTS = ROOT / "tests" / "fixtures" / "reports"

PROJECT = """model = "digits"
task = "image-classification"
target = "x86-avx2"
max_drop = "1%"
max_latency_ms = 5.5
objective = "latency"
backends = ["onnxruntime"]
candidates = ["onnxruntime/int8-static"]
inputs = ["x:f32[b,3]"]
labels = ["a", "b"]
shapes = { batch = 1, sequence = "dynamic" }
bench = false
seed = 3
search = 2
samples = 4
targets = { host = { max_drop = 0.02, shapes = { batch = 2 } } }
"""

RECIPE = """summary = "own"
precision = "int8"

[[passes]]
name = "quantize-static"
config = { method = "minmax", per_channel = true }
operators = { Conv = { skip = true } }
nodes = { "a/b" = { skip = true } }
"""


def draws(work: Path) -> mutate.Draw:
    """Return what draws a mutated file in `work`."""
    tables: list[tuple[str, str, Callable[[Path], object]]] = [
        ("edgekit.toml", PROJECT, _project),
        ("recipe.toml", RECIPE, lambda path: bundles.command("recipes", path)),
        ("fleet.toml", f"{fleet.EXAMPLE}\n", lambda path: fleet.select(fleet.load(path), ["lab"])),
        *(
            (f"target-{name}.toml", (ROOT / "targets" / f"{name}.toml").read_text(), _target)
            for name in ("host", "raspberry-pi-5", "jetson", "xeon")
        ),
    ]
    planned = json.dumps(planning.plan(project.load(None, {"model": "digits", "bench": False})).to_dict())
    records: list[tuple[str, str, Callable[[Path], object]]] = [
        *((f"{path.stem}.json", path.read_text(), _report) for path in sorted(REPORTS.glob("*.json"))),
        ("plan.json", planned, _plan),
        (
            "task.json",
            '{"schema": 1, "task": "tensor", "labels": ["a", "b"]}',
            lambda path: TaskConfig.load(path.parent),
        ),
    ]

    def draw(generator: random.Random) -> tuple[str, mutate.Use]:
        name, content, use = generator.choice(tables if generator.random() < 0.6 else records)
        file = work / name
        if generator.random() < 0.4:
            file.write_bytes(mutate.text(content.encode(), generator))
            return f"{name} damaged", lambda: use(file)
        if name.endswith(".toml"):
            file.write_text(mutate.toml(tomllib.loads(content), generator, work), "utf-8", "surrogatepass")
            return f"{name} edited", lambda: use(file)
        file.write_text(content)
        return f"{name} {mutate.edit(file, generator)}", lambda: use(file)

    return draw


def _project(path: Path) -> None:
    planned = planning.plan(project.load(path))
    planned.to_toml()
    str(planned.to_dict())


def _target(path: Path) -> None:
    catalog.target(str(path))
    bundles.command("inspect", path)


def _report(path: Path) -> None:
    report = Report.load(path)
    text.render(report)
    markdown.render(report)
    html.render(report)
    bundles.command("compare", path, REPORTS / "minilm.json")


def _plan(path: Path) -> None:
    bundles.command("inspect", path)
