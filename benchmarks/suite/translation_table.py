"""The tools that translate, what each answered, and the page of Markdown."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

from edgekit.tasks import text_metrics
from suite import tools

OPTIMUM, OPENVINO, CTRANSLATE2 = (f"translation-{name}" for name in ("optimum", "openvino", "ctranslate2"))
ALLOWED = 0.01
"""The greatest loss of BLEU to torch."""


@dataclass(frozen=True)
class Peer:
    """A tool: how its process translates, in which environment, and how its folder is made."""

    name: str
    title: str
    kind: str
    environment: str
    convert: str | None = None
    """A function of translators.py; None for the folder of the model itself, and for ours."""
    candidates: str | None = None
    """Of ours: the candidates to export; empty for all of this machine."""


PEERS = (
    Peer("edgekit", "edgekit, as shipped", "edgekit", tools.HERE, candidates=""),
    Peer("edgekit-onnxruntime-f32", "edgekit, ONNX Runtime fp32", "edgekit", tools.HERE, candidates="onnxruntime/fp32"),
    Peer("edgekit-openvino-f32", "edgekit, OpenVINO fp32", "edgekit", tools.HERE, candidates="openvino/fp32"),
    Peer("torch", "torch eager, generate", "torch_eager", OPTIMUM),
    Peer("optimum-onnx", "optimum ORTModelForSeq2SeqLM", "optimum_onnx", OPTIMUM, "convert_onnx"),
    Peer("optimum-intel", "optimum-intel OVModelForSeq2SeqLM", "optimum_intel", OPENVINO, "convert_openvino"),
    Peer("optimum-intel-f32", "the same, f32 asked", "optimum_intel_f32", OPENVINO, "convert_openvino"),
    Peer("ctranslate2", "CTranslate2 fp32", "ctranslate2", CTRANSLATE2, "convert_ctranslate2"),
    Peer("ctranslate2-int8", "CTranslate2 int8", "ctranslate2", CTRANSLATE2, "convert_ctranslate2_int8"),
)


@dataclass
class Row:
    """What a tool answered, and how fast, by the number of beams."""

    peer: Peer
    versions: dict[str, str]
    detail: str = ""
    failure: str = ""
    texts: dict[int, list[str]] = field(default_factory=dict)
    rounds_ms: dict[int, list[float]] = field(default_factory=dict)
    """The mean time of a sentence in each round."""

    def add(self, beams: int, answer: dict[str, Any]) -> None:
        self.texts.setdefault(beams, []).extend(answer["texts"])
        self.rounds_ms.setdefault(beams, []).append(statistics.fmean(answer["ms"]))


def result(rows: list[Row], references: list[str], beams: list[int]) -> list[dict[str, Any]]:
    """Return the figures of each tool."""
    original = next(row for row in rows if row.peer.name == "torch")
    figures = []
    for row in rows:
        entry: dict[str, Any] = {"tool": row.peer.title, "versions": row.versions, "detail": row.detail, "beams": {}}
        entry["failure"] = row.failure
        for count in beams if not row.failure else ():
            bleu = text_metrics.score("bleu", row.texts[count], references)
            lost = text_metrics.score("bleu", original.texts[count], references) - bleu
            entry["beams"][str(count)] = {
                "ms": statistics.median(row.rounds_ms[count]),
                "rounds_ms": row.rounds_ms[count],
                "bleu": bleu,
                "passes": lost <= ALLOWED + 1e-9,
                "equal": sum(a == b for a, b in zip(row.texts[count], original.texts[count], strict=True)),
            }
        figures.append(entry)
    return figures


def markdown(figures: list[dict[str, Any]], beams: list[int], count: int, facts: dict[str, Any]) -> str:
    """Return the page."""
    titles = [f"{'greedy' if number == 1 else f'{number} beams'}" for number in beams]
    head = ["tool", *(f"{title}: {what}" for title in titles for what in ("ms (rounds)", "BLEU", "equal to torch"))]
    lines = [f"# Translation, German to English, {count} sentences", "", f"`{facts['command']}`", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for entry in figures:
        if entry["failure"]:
            lines.append(f"| {entry['tool']} | failed: {entry['failure']} |" + " |" * (len(head) - 2))
            continue
        cells = [entry["tool"] + (f" ({entry['detail']})" if entry["detail"] else "")]
        for number in beams:
            each = entry["beams"][str(number)]
            mark = "" if each["passes"] else " (fails the gate)"
            low, high = min(each["rounds_ms"]), max(each["rounds_ms"])
            cells += [f"{each['ms']:.1f} ({low:.1f} to {high:.1f})", f"{100 * each['bleu']:.2f}{mark}"]
            cells += [f"{each['equal']} of {count}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "Milliseconds from text to text of one sentence, the median of the rounds' means, and their range."]
    lines += [f"The gate is a loss of at most {100 * ALLOWED:g} point of BLEU to torch.", ""]
    for number in beams:
        passing = [entry for entry in figures if not entry["failure"] and entry["beams"][str(number)]["passes"]]
        best = min(passing, key=lambda entry: entry["beams"][str(number)]["ms"])
        lines.append(f"- Fastest that passes, {'greedy' if number == 1 else f'{number} beams'}: {best['tool']}.")
    machine = facts["environment"]["host"]
    lines += [
        "",
        f"{machine['cpu']}, {facts['threads']} threads; {facts['model']}; load of the machine "
        f"{facts['load_before']:.2f} before, {facts['load_after']:.2f} after (with this run's own work).",
    ]
    versions = sorted({f"{name} {value}" for entry in figures for name, value in entry["versions"].items()})
    lines += ["", f"Versions: {', '.join(versions)}."]
    return "\n".join(lines) + "\n"
