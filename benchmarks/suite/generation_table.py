"""The tools that continue a text, in the order of the table, and the table."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from suite.tools import HERE


@dataclass(frozen=True)
class Generator:
    """A tool that continues ids."""

    name: str
    title: str
    kind: str
    """The function of `generators.py` that runs it."""
    environment: str = HERE
    convert: str | None = None
    """The function of `generators.py` that converts the checkpoint for it."""
    convert_in: str = HERE
    candidate: str | None = None
    """The candidate of ours that is exported."""


_LLAMA, _OPENVINO, _OPTIMUM = "text-llama", "text-openvino", "translation-optimum"
_INTEL = "translation-openvino"

_OURS = ("fp32", "int8-weights", "int4-weights", "int4-weights-exact", "genai-int4")

GENERATORS = (
    Generator("torch", "torch, eager, fp32", "torch_eager"),
    Generator("optimum", "optimum ORTModelForCausalLM, fp32", "optimum_onnx", _OPTIMUM, "convert_onnx", _OPTIMUM),
    *(
        Generator(f"edgekit-{name}", f"edgekit onnxruntime/{name}", "edgekit", candidate=f"onnxruntime/{name}")
        for name in _OURS
    ),
    Generator("edgekit-openvino", "edgekit openvino/int4-weights", "edgekit", candidate="openvino/int4-weights"),
    Generator("onnxruntime-genai", "onnxruntime-genai, int4", "onnxruntime_genai", candidate="onnxruntime/genai-int4"),
    Generator("openvino-genai", "openvino-genai, fp32", "openvino_genai_f32", _OPENVINO, "convert_openvino", _INTEL),
    *(
        Generator(
            f"openvino-genai-int{bits}",
            f"openvino-genai, int{bits}",
            "openvino_genai",
            _OPENVINO,
            f"convert_openvino_int{bits}",
            _INTEL,
        )
        for bits in (8, 4)
    ),
    Generator("llama.cpp", "llama.cpp, F32", "llama_cpp", _LLAMA, "convert_llama", _LLAMA),
    Generator("llama.cpp-q8", "llama.cpp, Q8_0", "llama_cpp", _LLAMA, "convert_llama_q8", _LLAMA),
    Generator("llama.cpp-q4", "llama.cpp, Q4_0", "llama_cpp", _LLAMA, "convert_llama_q4", _LLAMA),
)

WEIGHTS = (".data", ".bin", ".gguf", ".safetensors", ".onnx", ".onnx_data")


def row(
    tool: Generator,
    turns: Sequence[Mapping[str, Any]],
    folder: Path | None,
    built: Mapping[str, float],
    memory_gb_per_s: float | None,
    torch_ids: Sequence[int] | None,
    failures: Mapping[str, str],
) -> dict[str, Any]:
    """Return the figures of a tool: medians over its turns, each the best of its runs, and their spread."""
    if not turns:
        return {"tool": tool.title, "failure": failures.get(tool.name, "not run")}
    firsts = [min(run["first_ms"] for run in turn["runs"]) for turn in turns]
    tokens = [min(statistics.median(run["token_ms"]) for run in turn["runs"]) for turn in turns]
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.suffix in WEIGHTS) / 1e6 if folder else 0.0
    token = statistics.median(tokens)
    return {
        "tool": tool.title,
        "mb": size,
        "first_ms": statistics.median(firsts),
        "tokens_per_s": 1000 / token,
        "tokens_per_s_turns": sorted(1000 / each for each in tokens),
        "bandwidth_share": size / token / memory_gb_per_s if memory_gb_per_s else None,
        "peak_mb": max(turn["peak_mb"] for turn in turns),
        "ids_of_torch": None if torch_ids is None else turns[0]["runs"][0]["ids"] == list(torch_ids),
        "built": dict(built),
        "versions": turns[0]["versions"],
        "failure": failures.get(tool.name),
    }


def markdown(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the page."""
    processor = facts["environment"]["host"]["cpu"]
    lines = [
        "# Text generation beside its peers",
        "",
        f"A Llama of 0.41 B random weights; a prompt of {facts['prompt']} tokens, {facts['new']} new ones, greedy, on "
        f"{facts['threads']} threads. {processor}. Load average {facts['load_before']:.1f} before and "
        f"{facts['load_after']:.1f} after: where it is above the threads, the machine was noisy, and only ratios mean "
        "something.",
        "",
        f"    {facts['command']}",
        "",
        f"Medians of the turns, {facts['turns']} in random order, each a new process and the best of {facts['runs']} "
        "runs; the least and the greatest turn in brackets. Bandwidth: the weights' files are read once a token.",
        "",
        "| tool | MB | first token | tokens a second | share of bandwidth | peak memory | torch's ids | built in "
        "| peak of building (PSS; anonymous) |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in rows:
        if "mb" not in each:
            lines.append(f"| {each['tool']} | failed: {each['failure'][:300]} | | | | | | | |")
            continue
        turns, built = each["tokens_per_s_turns"], each["built"]
        share = "" if each["bandwidth_share"] is None else f"{each['bandwidth_share']:.0%}"
        same = {True: "yes", False: "no", None: ""}[each["ids_of_torch"]]
        making = (
            f"{built['seconds']:.0f} s | {built['pss_mb']:.0f} MB; {built['anonymous_mb']:.0f} MB" if built else " | "
        )
        lines.append(
            f"| {each['tool']} | {each['mb']:.0f} | {each['first_ms']:.0f} ms | {each['tokens_per_s']:.1f} "
            f"({turns[0]:.1f} to {turns[-1]:.1f}) | {share} | {each['peak_mb']:.0f} MB | {same} | {making} |"
        )
    versions = {name: number for each in rows for name, number in each.get("versions", {}).items()}
    lines += ["", ", ".join(f"{name} {number}" for name, number in sorted(versions.items())) + "."]
    return "\n".join(lines) + "\n"
