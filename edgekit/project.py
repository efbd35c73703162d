"""The project: the settings of an export, as `edgekit.toml` keeps them and the command line overrides them.

A build pipeline keeps the file in version control; then `edgekit export --target jetson` needs no other option. The
plan that `--dry-run` prints is such a file too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgekit import _toml
from edgekit._record import Record
from edgekit._share import share
from edgekit.errors import UsageError, nearest

FILE = "edgekit.toml"

DEFAULT_MAX_DROP = 0.01
"""One point of a metric between 0 and 1."""
DEFAULT_MIN_AGREEMENT = 0.99
"""Where there are no labels: the share of samples with the original's top-1 answer, or the least cosine to its output.
"""

SAMPLES = ("none", "synthetic")
"""What may travel in a bundle in place of samples of the data."""

Objective = Literal["latency", "throughput", "size", "memory"]
"""What the candidates that pass the gate are ranked by."""

_PATHS = ("model", "data", "calibration", "train", "processor", "output", "recipe")


@dataclass(frozen=True)
class Project(Record):
    """What to export, for which target, evaluated on which data, within which budgets."""

    model: str | None = None
    task: str | None = None
    target: str = "host"
    output: str | None = None

    data: str | None = None
    """Evaluation data, and calibration data where `calibration` is not given: the two never share a sample."""
    calibration: str | None = None
    train: str | None = None
    """Training data, for recipes that train; never taken from `data`."""
    prune: float | None = None
    """Try each recipe on a pruned model too: without this share of its multiply-adds, and fine-tuned on `train`."""
    split: str | None = None
    text_columns: tuple[str, ...] = ()
    label_column: str | None = None
    metric: str | None = None
    max_samples: int = 2000
    calibration_samples: int = 300

    output_name: str | None = None
    """The output that holds the answer; None: the only one that can."""
    labels: tuple[str, ...] = ()
    """Names of the model's classes, in the order of its output; empty: the model's own, or the data's."""
    positive_class: str | None = None
    """Of two classes, the one that AUC and F1 are of."""

    max_drop: float | str | None = None
    """The loss of the metric that is allowed: 0.01, "1%" or "1pt" are one point."""
    min_agreement: float | None = None
    max_latency_ms: float | None = None
    max_size_mb: float | None = None
    max_memory_mb: float | None = None
    """Peak memory of the process that runs the model, interpreter and runtime included."""
    objective: Objective = "latency"

    recipe: str | None = None
    backends: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    """`backend/recipe` names; empty means the target's."""
    processor: str | None = None
    inputs: tuple[str, ...] = ()
    """Input specs as `name:dtype[dims]`, for a plain module without examples."""
    states: tuple[str, ...] = ()
    """States of an ONNX file as `input=output`: what a call leaves for the next."""
    shapes: Mapping[str, int | str] = field(default_factory=dict)
    """A number fixes a free size; "dynamic" leaves it free."""
    opset: int | None = None

    qat: bool = False
    """Fine-tune under int8's rounding, on `train`, where no int8 candidate passes the gate, not even after repair."""
    repair: bool = True
    """Where a candidate misses the gate: leave in float the layers whose quantization costs the most quality."""
    repair_seconds: float | None = None
    """The most time for all repairs together; what was found until then counts."""
    mixed: bool = True
    """Where candidates are measured: leave in float the layers that int8 does not make faster."""
    bench: bool = True
    bench_seconds: float = 2.0
    search: int = 0
    """Number of trials of other recipes, methods and shares of layers, beyond the target's candidates."""
    tune: bool = True
    """Measure other runtime options of the shipped candidate, and use those that are faster."""
    seed: int = 0
    samples: int | str | None = None
    """What travels in the bundle to prove it on a device: so many evaluation samples (4 where it is not set) with the
    original's outputs, "none", or "synthetic": random inputs."""

    revision: str | None = None
    offline: bool = False
    trust_remote_code: bool = False
    allow_pickle: bool = False

    targets: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What differs for one target: `[targets.jetson] max_drop = 0.02`."""

    def __post_init__(self) -> None:
        if self.max_drop is not None:
            share(self.max_drop)
        _within("min_agreement", self.min_agreement, 0.0, 1.0)
        for name in ("max_samples", "calibration_samples"):
            _within(name, getattr(self, name), 1, None)
        for name in ("max_latency_ms", "max_size_mb", "max_memory_mb", "bench_seconds", "repair_seconds"):
            _within(name, getattr(self, name), 1e-9, None)
        _within("search", self.search, 0, None)
        for name in _PATHS:
            _utf8(name, getattr(self, name))
        _storable(self.samples)
        _measurable(self)
        if self.prune is not None and not 0 < self.prune < 1:
            raise UsageError(
                f"prune = {self.prune:g} is not possible: it must be between 0 and 1.",
                hint="give the share of the multiply-adds to remove, as 0.5",
            )
        for name, size in self.shapes.items():
            if (isinstance(size, int) and size < 1) or (isinstance(size, str) and size != "dynamic"):
                raise UsageError(
                    f"the shape {name}={size} is not possible.", hint=f"give a number, as {name}=1, or {name}=dynamic"
                )

    @property
    def allowed_drop(self) -> float:
        """The loss of the metric that is allowed, as a share; one point where none is set."""
        return DEFAULT_MAX_DROP if self.max_drop is None else share(self.max_drop)

    def absolute(self) -> Project:
        """Return the project with absolute paths of everything on disk, so that it can be run from any folder."""
        paths = {name: getattr(self, name) for name in _PATHS}
        on_disk = {name for name, path in paths.items() if path and (name == "output" or Path(path).exists())}
        return Project.from_dict({**self.to_dict(), **{name: str(Path(paths[name]).resolve()) for name in on_disk}})

    def for_target(self) -> Project:
        """Return the project with what `targets` sets for the chosen target applied."""
        overrides = self.targets.get(self.target)
        if overrides is None:
            return self
        return Project.from_dict({**self.to_dict(), **overrides}, f"[targets.{self.target}]")


def load(path: Path | None = None, overrides: Mapping[str, Any] | None = None) -> Project:
    """Return the project of a file (`path`, else `edgekit.toml` or `[tool.edgekit]` here, else none), with the
    overrides.

    What the file sets for the chosen target overrides the file's general values and yields to `overrides`.
    Relative paths in a file are relative to the file's folder. Raises UsageError for a bad file or key.
    """
    overrides = {key: value for key, value in (overrides or {}).items() if value is not None}
    data, where = _read(path)
    if overrides.get("target"):
        data["target"] = overrides["target"]
    project = Project.from_dict(data, where).for_target()
    return Project.from_dict({**project.to_dict(), **overrides}, "the options") if overrides else project


def to_toml(project: Project, comments: Mapping[str, str] | None = None) -> str:
    """Return the text of a project file with the values of `project`; values equal to their default are left out.

    `comments` are written above the values of those names.
    """
    defaults = Project().to_dict()
    lines = []
    for name, value in project.to_dict().items():
        if name in ("targets", "shapes") or (value == defaults[name] and name != "target"):
            continue
        lines += [f"# {line}" for line in (comments or {}).get(name, "").splitlines()]
        lines.append(f"{name} = {_toml.value(value)}")
    if project.shapes:
        lines += [
            "",
            "[shapes]",
            *(f"{_toml.key(name)} = {_toml.value(size)}" for name, size in project.shapes.items()),
        ]
    return "\n".join(lines) + "\n"


def _read(path: Path | None) -> tuple[dict[str, Any], str]:
    if path is None:
        if Path(FILE).is_file():
            path = Path(FILE)
        elif Path("pyproject.toml").is_file():
            data = _toml_file(Path("pyproject.toml")).get("tool", {}).get("edgekit")
            return (dict(data), "pyproject.toml [tool.edgekit]") if isinstance(data, dict) else ({}, "the options")
        else:
            return {}, "the options"
    data = _toml_file(path)
    if path.name == "pyproject.toml":
        data = data.get("tool", {}).get("edgekit", {})
    folder = path.parent
    for name in _PATHS:
        value = data.get(name)
        # A name such as `digits`, `hf:org/name` or `int8-static` is not a path; a name that exists beside the file is.
        is_text = isinstance(value, str) and folder != Path() and not Path(value).is_absolute()
        if is_text and (name == "output" or value.startswith(".") or (folder / value).exists()):
            data[name] = str(folder / value)
    return data, str(path)


def _toml_file(path: Path) -> dict[str, Any]:
    try:
        return _toml.read(path, "project file", hint="give the path of a TOML file")
    except UsageError as error:
        if not isinstance(error.__cause__, FileNotFoundError):
            raise
        raise UsageError(f"the project file '{path}' does not exist.", hint="write one with `edgekit init`") from error


def _within(name: str, value: float | None, low: float, high: float | None) -> None:
    if value is not None and not low <= value <= (math.inf if high is None else high):  # true for nan too
        bounds = f"between {low:g} and {high:g}" if high is not None else "positive"
        raise UsageError(
            f"{name} = {value:g} is not possible: it must be {bounds}.",
            hint=f"leave {name} out for its default, or give a number that is {bounds}",
        )


def _utf8(name: str, value: Any) -> None:
    """Raise UsageError for the name of a file that is not UTF-8: plans and reports are text, and could not hold it."""
    try:
        str(value).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"the name of {name} is not UTF-8, and the bundle's plan could not hold it.",
            hint="rename the file or folder, or name it by a link: ln -s OLD NEW",
        ) from error


def _storable(samples: int | str | None) -> None:
    """Raise UsageError for another number or word than those that say which samples travel in the bundle."""
    if isinstance(samples, str) and samples not in SAMPLES:
        raise UsageError(
            f"samples = '{samples[:60]}' is not possible.{nearest(samples[:60], SAMPLES)}",
            hint="give a number, as 4, or none or synthetic",
        )
    if isinstance(samples, int) and samples < 1:
        raise UsageError(f"samples = {samples} is not possible: it must be positive.", hint="--samples none")


def _measurable(project: Project) -> None:
    """Raise UsageError where a budget or the objective asks for what is not measured."""
    if project.bench:
        return
    for name in ("max_latency_ms", "max_memory_mb"):
        value = getattr(project, name)
        if value is not None:
            raise UsageError(
                f"{name} = {value:g} cannot be checked: nothing is measured.",
                hint="leave out --no-bench (bench = false), or the budget",
            )
    if project.search and project.objective == "latency":
        raise UsageError(
            "a search for the least latency cannot be evaluated: nothing is measured.",
            hint="leave out --no-bench (bench = false), or search for --objective size",
        )
    if project.objective in ("throughput", "memory"):
        raise UsageError(
            f"the objective {project.objective} cannot be evaluated: nothing is measured.",
            hint="leave out --no-bench (bench = false), or the objective",
        )
