"""Ask a real compiler about a prepared graph: TensorRT for RTX, which needs no GPU and no driver.

The parser is the one that every TensorRT has; its verdict names the failing nodes. The compile is for the target's own
SM where TensorRT for RTX has it, and for its nearest kin where it has not (Orin, Thor): that engine tells what the
layers become and is thrown away. All of it runs in a child process with a timeout; a crash there is a message here.
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
from edgekit_tensorrt.facts import RTX
from edgekit_tensorrt.layers import Product, compare, named, precision, read, word
from edgekit_tensorrt.plan import BuildPlan

INSTALL = "pip install 'edgekit-tensorrt[rtx]'"

ENGINE = "model.engine"
PREFLIGHT = "preflight.json"
"""What the compiler said of the graph beside it; it ships as evidence."""

SIBLINGS = {"8.7": "8.6", "9.0": "8.9", "10.0": "12.0", "10.3": "12.0", "11.0": "12.0"}
"""The nearest SM of the same abilities that TensorRT for RTX has: Orin is Ampere as 8.6 is, Thor Blackwell as 12.0."""

TIMEOUT_S = 900.0
"""A ResNet-50 takes under a second, a large transformer a minute or two."""

LAST_LINES = 3

_NOISE = re.compile(r"catchCudaError|CUDA driver version|In node .* with name|^\s*$|^Invalid Node - ")
"""Lines of a parser's error that say nothing of the graph: there is no driver here, which is no fault."""

_WRAPPING = (
    (re.compile(r"^I?\w+::\w+: "), ""),
    (re.compile(r"Error Code \d+: (?:API Usage Error|Myelin|Internal Error) \("), ""),
    (re.compile(r"\[\w+\.cpp:\d+: \w+\] "), ""),
    (re.compile(r"\.? ?In [\w:]+ at /_src/\S+?\)?$"), ""),
    (re.compile(r"^Assertion failed: "), ""),
)
"""What TensorRT puts around a reason: its own function, file and line."""

_ADVICE = (
    (re.compile(r"type Int32 but must have type"), "its bias is quantized: TensorRT takes biases in float"),
    (re.compile(r"zero.?point", re.IGNORECASE), "TensorRT takes symmetric quantization only, zero point 0"),
    (re.compile(r"^false$"), "TensorRT has no such operator"),
    (re.compile(r"Plugin not found"), "neither TensorRT nor a plugin has this operator"),
)


@dataclass(frozen=True)
class Preflight(Record):
    """What a compiler on this machine said of a graph, without the device."""

    verdict: Literal["none", "rejected", "failed", "unanswered", "parsed", "compiled"]
    """`none`: no compiler was asked. `rejected`: the parser refused it. `failed`: parsed, and the compile failed.
    `unanswered`: the compiler crashed or took too long. `parsed`: accepted, and there was no SM to compile for.
    """
    compiler: str | None = None
    """Name and version, as `tensorrt-rtx 1.7.1.116`."""
    sm: str | None = None
    """The compute capability that was compiled for."""
    sibling: bool = False
    """Whether that is not the target's own: a preflight on its kin, never shipped."""
    problems: tuple[str, ...] = ()
    """Each failing node with its operator and what the compiler says of it."""
    precision: Precision | None = None
    """The types that the compiled layers compute in, read back from the compiler."""
    as_asked: tuple[str, ...] = ()
    """Which products run in the type that the graph asks for, in words."""
    differs: tuple[str, ...] = ()
    """Which do not, in words."""
    seconds: float | None = None
    peak_memory_mb: float | None = None
    engine: str | None = None
    """The engine's file beside the graph, where it is for the target itself."""
    engine_mb: float | None = None
    """The size of what was compiled, kept or not, in MB of 10^6 bytes."""
    notes: tuple[str, ...] = ()

    def save(self, path: Path) -> None:
        """Write the record without what only this run took: equal graphs give equal bundles."""
        lasting = {key: one for key, one in self.to_dict().items() if key not in ("seconds", "peak_memory_mb")}
        path.write_text(json.dumps(lasting, indent=2) + "\n")

    @property
    def accepted(self) -> bool:
        """Return whether a compiler was asked and found nothing wrong."""
        return self.verdict in ("parsed", "compiled")


def check(model: Path, plan: BuildPlan, target: Target, *, timeout_s: float = TIMEOUT_S) -> Preflight:
    """Return what TensorRT for RTX makes of the graph at `model`; where it is not installed, the verdict is `none`.

    For the runtime `rtx` the engine is kept beside the graph. Raises EnvironmentFault where that cannot be, as the
    compiler is not installed, and UnsupportedError for an SM that it does not have.
    """
    deliver = plan.options.get("runtime") == "rtx"
    if find_spec("tensorrt_rtx") is None:
        if deliver:
            raise EnvironmentFault("TensorRT for RTX is not installed here.", hint=INSTALL)
        return Preflight("none", notes=(f"no compiler here: the graph met rules, not TensorRT's parser ({INSTALL})",))
    sm = plan.sm if plan.sm in RTX else SIBLINGS.get(plan.sm or "")
    if deliver and sm != plan.sm:
        raise UnsupportedError(
            f"TensorRT for RTX does not compile for '{target.name}':",
            problems=[f"its SM is {plan.sm or 'not known'}; TensorRT for RTX has {', '.join(RTX)}"],
            hint="say the card's SM in the target, or take the runtime 'tensorrt'",
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
        note = f"no verdict of a compiler here: {answer}"
        return Preflight("unanswered", sm=sm, sibling=sibling, problems=(answer,), notes=(note,))
    return judge(answer, sm, sibling=sibling, deliver=deliver)


def command_line(job: Path) -> list[str]:
    """Return the command of the child: it has its parent's module path, without the working directory."""
    path = [entry for entry in sys.path if isinstance(entry, str)]
    code = "import sys; sys.path[:] = sys.argv[2:]; from edgekit_tensorrt.rtx_child import main; main(sys.argv[1])"
    return [sys.executable, "-c", code, str(job), *path]


def run(command: Sequence[str], job: Mapping[str, Any], folder: Path, timeout_s: float) -> dict[str, Any] | str:
    """Run the child on `job` in `folder`; give its answer, or the sentence that says how it died."""
    (folder / "job.json").write_text(json.dumps(job))
    log = folder / "log"
    with log.open("wb") as stream:
        try:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, timeout=timeout_s, check=False
            ).returncode
        except subprocess.TimeoutExpired:
            return f"the compiler gave no answer in {timeout_s:g} s and was stopped; {_last(log)}"
    if code == 0:
        answer: dict[str, Any] = json.loads((folder / "result.json").read_text())
        return answer
    if code > 0:
        return f"the compiler's process ended with code {code}; {_last(log)}"
    name = signal.Signals(-code).name
    cause = ": the system killed it, most likely as memory ran out" if name == "SIGKILL" else ""
    return f"the compiler crashed ({name}){cause}; {_last(log)}"


def judge(answer: Mapping[str, Any], sm: str | None, *, sibling: bool, deliver: bool) -> Preflight:
    """Make the verdict of the child's answer."""
    compiler = answer["compiler"]
    facts: dict[str, Any] = {
        "compiler": compiler,
        "seconds": round(answer["parse_seconds"] + answer.get("compile_seconds", 0.0), 2),
        "peak_memory_mb": answer["peak_memory_mb"],
    }
    if not answer["parsed"]:
        return Preflight("rejected", problems=tuple(map(_refusal, answer["errors"])), **facts)
    if sm is None:
        note = f"{compiler}'s parser accepts the graph; it has no SM like the target's, so nothing was compiled"
        return Preflight("parsed", notes=(note,), **facts)
    facts |= {"sm": sm, "sibling": sibling}
    if answer["size"] is None:
        return Preflight("failed", problems=_failures(answer, sm), **facts)
    layers = read(answer["layers"])
    same, differ = compare([Product.from_dict(one) for one in answer["products"]], layers)
    how = f"compiled by {compiler} for SM {sm}"
    if sibling:
        how += ", a sibling of the target's (a preflight that is not shipped: the device's own TensorRT decides)"
    elif not deliver:
        how += " (a preflight that is not shipped: the device's own TensorRT decides)"
    return Preflight(
        "compiled",
        precision=precision(layers, [Product.from_dict(one) for one in answer["products"]]),
        as_asked=same,
        differs=differ,
        engine=ENGINE if deliver else None,
        engine_mb=round(answer["size"] / 1e6, 2),
        notes=("; ".join((how, *same)), *differ),
        **facts,
    )


def _refusal(error: Mapping[str, Any]) -> str:
    """Return which node the parser refuses, and why."""
    reasons = [_plain(line) for line in error["reason"].splitlines() if not _NOISE.search(line)]
    reason = "; ".join(filter(None, reasons)) or error["code"].replace("_", " ").lower()
    advice = next((said for pattern, said in _ADVICE if pattern.search(reason)), None)
    if advice:
        reason = advice if "such operator" in advice or "Plugin" in reason else f"{reason} ({advice})"
    if not error["operator"]:
        return reason
    place = f"'{error['node']}'" if error["node"] else f"node {error['index']}"
    within = f", in the function {' / '.join(error['within'])}" if error["within"] else ""
    return f"{place} ({error['operator']}{within}): {reason}"


def _failures(answer: Mapping[str, Any], sm: str) -> tuple[str, ...]:
    """Return why the compile failed, with the nodes of a type that the SM lacks, which the compiler does not name."""
    said = []
    for message in answer["said"]:
        if _NOISE.search(message):
            continue
        lacking = re.search(r"HW-specific datatypes: ([\w, ]+)", message)
        if lacking is None:
            said.append(_plain(message))
            continue
        for name in lacking[1].split(","):
            kind = {"b16": "bf16", "fp8_e4m3": "f8", "int4": "i4", "fp4": "f4"}.get(name.strip(), name.strip())
            nodes = answer["holders"].get(kind, ())
            said.append(f"SM {sm} has no {word(kind)}" + (f", which these nodes need: {named(nodes)}" if nodes else ""))
    return tuple(dict.fromkeys(said)) or ("the compiler gave no engine and no reason",)


def _plain(line: str) -> str:
    for pattern, instead in _WRAPPING:
        line = pattern.sub(instead, line.strip())
    return line.strip().rstrip(".)")


def _last(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    return f"its last lines: {' | '.join(lines[-LAST_LINES:])}" if lines else "it said nothing"
