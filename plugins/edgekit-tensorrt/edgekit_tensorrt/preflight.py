"""Compile a prepared graph with TensorRT for RTX, which needs no GPU and no driver.

The parser is the same as in every TensorRT; it names the nodes that it rejects. The graph is compiled for the target's
SM where TensorRT for RTX supports it, else for the most similar one (Orin, Thor): that engine shows the types of the
layers and is discarded. All of it runs in a child process with a timeout; a crash there is a message here.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from edgekit.errors import EnvironmentFault, UnsupportedError
from edgekit.plugin import Precision, Record, Target
from edgekit_tensorrt.layers import Product, compare, first_names, label, precision, read
from edgekit_tensorrt.plan import BuildPlan
from edgekit_tensorrt.support_matrix import RTX

INSTALL = "pip install 'edgekit-tensorrt[rtx]'"

ENGINE = "model.engine"
PREFLIGHT = "preflight.json"
"""The compiler's report on the graph beside it; it is part of the bundle as evidence."""

SIBLINGS = {"8.7": "8.6", "9.0": "8.9", "10.0": "12.0", "10.3": "12.0", "11.0": "12.0"}
"""The most similar SM that TensorRT for RTX supports: Orin and 8.6 are Ampere, Thor and 12.0 are Blackwell."""

TIMEOUT_S = 900.0
"""A ResNet-50 takes less than a second, a large transformer one or two minutes."""

LAST_LINES = 3

_NOISE = re.compile(r"catchCudaError|CUDA driver version|In node .* with name|^\s*$|^Invalid Node - ")
"""Lines of a parser's error that are not about the graph: there need not be a driver here."""

_WRAPPING = (
    (re.compile(r"^I?\w+::\w+: "), ""),
    (re.compile(r"Error Code \d+: (?:API Usage Error|Myelin|Internal Error) \("), ""),
    (re.compile(r"\[\w+\.cpp:\d+: \w+\] "), ""),
    (re.compile(r"\.? ?In [\w:]+ at /_src/\S+?\)?$"), ""),
    (re.compile(r"^Assertion failed: "), ""),
)
"""What TensorRT adds to a reason: its function, file and line."""

_ADVICE = (
    (re.compile(r"type Int32 but must have type"), "its bias is quantized: TensorRT takes biases in float"),
    (re.compile(r"zero.?point", re.IGNORECASE), "TensorRT takes symmetric quantization only, zero point 0"),
    (re.compile(r"^false$"), "TensorRT does not have this operator"),
    (re.compile(r"Plugin not found"), "neither TensorRT nor a plugin has this operator"),
)


@dataclass(frozen=True)
class Preflight(Record):
    """The report of a compiler on this machine on a graph, without the device."""

    verdict: Literal["none", "rejected", "failed", "unanswered", "parsed", "compiled"]
    """`none`: there was no compiler. `rejected`: by the parser. `failed`: parsed, but not compiled. `unanswered`: the
    compiler crashed or took too long. `parsed`: accepted, without an SM to compile for.
    """
    compiler: str | None = None
    """Name and version, as `tensorrt-rtx 1.7.1.116`."""
    sm: str | None = None
    """The compute capability that was compiled for."""
    sibling: bool = False
    """Whether `sm` is not the target's but the most similar one: such an engine is never part of a bundle."""
    problems: tuple[str, ...] = ()
    """Each failing node with its operator and the compiler's reason."""
    precision: Precision | None = None
    """The types that the compiled layers compute in, as the compiler reports them."""
    as_asked: tuple[str, ...] = ()
    """Sentences: which products run in the type that the graph has for them."""
    differs: tuple[str, ...] = ()
    """Sentences: which do not."""
    seconds: float | None = None
    peak_memory_mb: float | None = None
    engine: str | None = None
    """The engine's file beside the graph, where it is compiled for the target."""
    engine_mb: float | None = None
    """The size of the compiled engine, kept or not, in MB of 10^6 bytes."""
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the record without the time and memory of this run: equal graphs give equal bundles."""
        repeatable = {key: value for key, value in self.to_dict().items() if key not in ("seconds", "peak_memory_mb")}
        path.write_text(json.dumps(repeatable, indent=2) + "\n")

    @property
    def accepted(self) -> bool:
        """Return whether there was a compiler and it accepted the graph."""
        return self.verdict in ("parsed", "compiled")


def check(model: Path, plan: BuildPlan, target: Target, *, timeout_s: float = TIMEOUT_S) -> Preflight:
    """Return the report of TensorRT for RTX on the graph at `model`; where it is not installed, the verdict is `none`.

    For the runtime `rtx` the engine is kept beside the graph. Then it raises EnvironmentFault where the compiler is not
    installed, and UnsupportedError for an SM that it does not support.
    """
    deliver = plan.options.get("runtime") == "rtx"
    if find_spec("tensorrt_rtx") is None:
        if deliver:
            raise EnvironmentFault("TensorRT for RTX is not installed here.", hint=INSTALL)
        note = f"no compiler is installed here ({INSTALL}): the graph was checked by rules, not by TensorRT's parser"
        return Preflight("none", notes=(note,))
    sm = plan.sm if plan.sm in RTX else SIBLINGS.get(plan.sm or "")
    if deliver and sm != plan.sm:
        raise UnsupportedError(
            f"TensorRT for RTX does not compile for '{target.name}':",
            problems=[f"its SM is {plan.sm or 'unknown'}; TensorRT for RTX supports {', '.join(RTX)}"],
            hint="set the card's SM in the target, or use the runtime 'tensorrt'",
        )
    job = {
        "onnx": str(model.absolute()),
        "sm": sm,
        "plan": plan.to_dict(),
        "engine": str(model.absolute().with_name(ENGINE)) if deliver else None,
    }
    with tempfile.TemporaryDirectory(prefix=f"edgekit-rtx.{os.getpid()}.") as folder:
        answer = run(command_line(Path(folder) / "job.json"), job, Path(folder), timeout_s)
    sibling = sm is not None and sm != plan.sm
    if isinstance(answer, str):
        note = f"the compiler here gave no result: {answer}"
        return Preflight("unanswered", sm=sm, sibling=sibling, problems=(answer,), notes=(note,))
    return evaluate(answer, sm, sibling=sibling, deliver=deliver)


def command_line(job: Path) -> list[str]:
    """Return the command of the child: it has its parent's module path, without the working directory."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = (
        "import sys; sys.path[:] = sys.argv[2:]; from edgekit_tensorrt.preflight_process import main; main(sys.argv[1])"
    )
    return [sys.executable, "-c", code, str(job), *path]


def run(command: Sequence[str], job: Mapping[str, Any], folder: Path, timeout_s: float) -> dict[str, Any] | str:
    """Run the child on `job` in `folder`; return its answer, or a sentence on how it failed."""
    (folder / "job.json").write_text(json.dumps(job))
    log = folder / "log"
    with log.open("wb") as stream:
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=timeout_s, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"the compiler took longer than {timeout_s:g} s and was stopped; {_last(log)}"
    if code == 0:
        answer: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return answer
    if code > 0:
        return f"the compiler's process ended with exit code {code}; {_last(log)}"
    name = signal.Signals(-code).name
    cause = ": the system killed it, most likely because memory ran out" if name == "SIGKILL" else ""
    return f"the compiler crashed ({name}){cause}; {_last(log)}"


def evaluate(answer: Mapping[str, Any], sm: str | None, *, sibling: bool, deliver: bool) -> Preflight:
    """Return the report for the child's answer."""
    compiler = answer["compiler"]
    facts: dict[str, Any] = {
        "compiler": compiler,
        "seconds": round(answer["parse_seconds"] + answer.get("compile_seconds", 0.0), 2),
        "peak_memory_mb": answer["peak_memory_mb"],
    }
    if not answer["parsed"]:
        return Preflight("rejected", problems=tuple(map(_parser_error, answer["parser_errors"])), **facts)
    if sm is None:
        note = f"{compiler}'s parser accepts the graph; it has no SM similar to the target's, so nothing was compiled"
        return Preflight("parsed", notes=(note,), **facts)
    facts |= {"sm": sm, "sibling": sibling}
    if answer["size"] is None:
        return Preflight("failed", problems=_compile_errors(answer, sm), **facts)
    layers = read(answer["layers"])
    products = [Product.from_dict(product) for product in answer["products"]]
    same, differ = compare(products, layers)
    compiled = f"compiled by {compiler} for SM {sm}"
    if sibling:
        compiled += ", a sibling of the target's"
    if not deliver:
        compiled += " (a preflight, not shipped: TensorRT compiles the graph again on the device)"
    return Preflight(
        "compiled",
        precision=precision(layers, products),
        as_asked=same,
        differs=differ,
        engine=ENGINE if deliver else None,
        engine_mb=round(answer["size"] / 1e6, 2),
        notes=("; ".join((compiled, *same)), *differ),
        **facts,
    )


def _parser_error(error: Mapping[str, Any]) -> str:
    """Return which node the parser rejects, and why."""
    reasons = [_plain(line) for line in error["reason"].splitlines() if not _NOISE.search(line)]
    reason = "; ".join(filter(None, reasons)) or error["code"].replace("_", " ").lower()
    advice = next((text for pattern, text in _ADVICE if pattern.search(reason)), None)
    if advice:
        reason = advice if "this operator" in advice else f"{reason} ({advice})"
    if not error["operator"]:
        return reason
    place = f"'{error['node']}'" if error["node"] else f"node {error['index']}"
    within = f", in the function {' / '.join(error['within'])}" if error["within"] else ""
    return f"{place} ({error['operator']}{within}): {reason}"


def _compile_errors(answer: Mapping[str, Any], sm: str) -> tuple[str, ...]:
    """Return why the compiler failed, with the nodes of a type that the SM lacks: the compiler does not name them."""
    errors = []
    for message in answer["compile_errors"]:
        if _NOISE.search(message):
            continue
        missing = re.search(r"HW-specific datatypes: ([\w, ]+)", message)
        if missing is None:
            errors.append(_plain(message))
            continue
        for name in missing[1].split(","):
            dtype = {"b16": "bf16", "fp8_e4m3": "f8", "int4": "i4", "fp4": "f4"}.get(name.strip(), name.strip())
            nodes = answer["nodes_by_dtype"].get(dtype, ())
            needed = f", which these nodes need: {first_names(nodes)}" if nodes else ""
            errors.append(f"SM {sm} has no {label(dtype)}{needed}")
    return tuple(dict.fromkeys(errors)) or ("the compiler gave no engine and no reason",)


def _plain(line: str) -> str:
    for pattern, replacement in _WRAPPING:
        line = pattern.sub(replacement, line.strip())
    return line.strip().rstrip(".)")


def _last(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"its last lines: {' | '.join(lines[-LAST_LINES:])}" if lines else "it printed nothing"
