"""The results of the sweep as a table: what exports, and every refusal with its reason and the step that was tried."""

from __future__ import annotations

import json
import platform
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "transformers", "optimum", "optimum-onnx", "onnxruntime")


def write(rows: list[dict[str, Any]], folder: Path) -> None:
    """Write architectures.md and architectures.json into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}}
    rows = [{key: _portable(value) for key, value in row.items()} for row in rows]
    record = {"environment": environment, "rows": rows}
    (folder / "architectures.json").write_text(json.dumps(record, indent=1) + "\n")
    (folder / "architectures.md").write_text(render(rows, environment))


def render(rows: list[dict[str, Any]], environment: dict[str, str]) -> str:
    counts = Counter(row["result"] for row in rows)
    tried = [row for row in rows if row["result"] != "not made"]
    helped = sum(str(row.get("came", "")).startswith("exports") for row in rows)
    compared = sum(bool(row.get("compared")) for row in rows)
    circles = sum(row.get("came") == "CIRCLE" for row in rows)
    lines = [
        "# Small random checkpoints of every model type",
        "",
        f"`python benchmarks/architectures.py`; {', '.join(map(' '.join, environment.items()))}.",
        "",
        f"{len(tried)} checkpoints: {counts['exports']} export ({compared} of them were compared with "
        f"torch, and agree), {counts['refused']} are refused "
        f"({helped} of them export after the next step that the refusal names; {circles} of the steps lead to the same "
        f"refusal), {counts['WRONG']} differ from torch, {counts['FAULT']} end in a fault. "
        f"{counts['not made']} types were not made: they need packages that are not installed, or have no small "
        "configuration here.",
        "",
        "| type | class | result | reason | step tried | what came |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    order = ("FAULT", "WRONG", "refused", "exports", "not made")
    for row in sorted(rows, key=lambda row: (order.index(row["result"]), row["type"])):
        cells = [
            row["type"],
            row["class"],
            row["result"],
            row.get("reason", ""),
            row.get("tried", ""),
            row.get("came", ""),
        ]
        lines.append("| " + " | ".join(_cell(text) for text in cells) + " |")
    return "\n".join(lines) + "\n"


def _portable(value: Any) -> Any:
    """Return a message without the folders of the machine that wrote it."""
    return re.sub(r"/(?:tmp|root|home|work|__w)/(?:[\w.\-]+/)*", "", value) if isinstance(value, str) else value


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())[:220]
