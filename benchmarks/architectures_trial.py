"""One model of the sweep: made, exported as a user exports it, held against torch; or refused, and the hint taken."""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

import tiny_checkpoints

TOLERANCE = 1e-3
"""The largest difference from torch that the same operators in fp32 may have, of the output's largest magnitude."""

LARGEST = 60_000_000
"""A configuration that stays larger than this many parameters is left out, and named."""


def trial(model_type: str, class_name: str, work: Path) -> dict[str, Any]:
    """Return the row of one class: `exports`, `refused` with the next step that was tried, `not made`, or `FAULT`."""
    from edgekit.frameworks.torch_model import first_line

    with tempfile.TemporaryDirectory(dir=work) as name:
        folder = Path(name)
        try:
            import torch
            import transformers

            transformers.logging.set_verbosity_error()
            torch.set_num_threads(1)
            with torch.device("meta"):
                size = sum(item.numel() for item in tiny_checkpoints.module(model_type, class_name).parameters())
            if size > LARGEST:
                return {"result": "not made", "reason": f"no small configuration ({size:,} parameters)"}
            tiny_checkpoints.save(model_type, class_name, folder / "checkpoint")
        except Exception as error:  # transformers' own classes, some of which need packages that are not here
            return {"result": "not made", "reason": first_line(error)[:200]}
        row = attempt(folder / "checkpoint", folder / "out", class_name)
        if row["result"] == "refused":
            row |= next_step(row, folder, class_name)
        return row


def attempt(model: Any, output: Path, class_name: str, **options: Any) -> dict[str, Any]:
    """Export once, and return the result with its reason."""
    from edgekit import api
    from edgekit.errors import EdgekitError
    from edgekit.frameworks.torch_model import first_line

    try:
        result = api.export(model, output=output, candidates=("onnxruntime/fp32",), bench=False, force=True, **options)
    except EdgekitError as error:
        if type(error).exit_code == 1:
            return {"result": "FAULT", "reason": f"{type(error).__name__}: {error}"[:400]}
        lost = error.context.get("report")
        return {
            "result": "refused", "exit": type(error).exit_code, "hint": error.hint or "",
            "reason": error.message[:600] + (f" ({candidates(lost)})" if lost else ""),
        }  # fmt: skip
    except Exception as error:  # a bug: what the sweep is there to find
        return {"result": "FAULT", "reason": f"trace: {first_line(error)}"[:400]}
    if options.get("data") or not isinstance(model, Path):
        return {"result": "exports"}
    try:
        return against_torch(result, model, class_name)
    except Exception as error:  # the comparison's own
        return {"result": "exports", "compared": [], "reason": f"not compared: {first_line(error)[:200]}"}


def candidates(report: Any) -> str:
    from edgekit.result.report import Report

    return "; ".join(str(c.reason) for c in Report.load(Path(str(report))).candidates)[:300]


def against_torch(result: Any, checkpoint: Path, class_name: str) -> dict[str, Any]:
    """Compare the shipped graph with the class that the checkpoint names, on its samples and on another size."""
    import onnxruntime
    import torch
    import transformers

    graphs = sorted(result.bundle.path.glob("**/*.onnx"))
    if len(graphs) > 1:
        return {"result": "exports", "task_taken": result.report.task, "compared": [],
                "reason": "several graphs: the gate held them against torch, token by token"}  # fmt: skip
    session = onnxruntime.InferenceSession(str(graphs[0]), providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    module = getattr(transformers, class_name).from_pretrained(checkpoint).eval()
    row: dict[str, Any] = {"result": "exports", "task_taken": result.report.task}
    worst, compared = 0.0, set()
    for batch, length in ((1, 16), (2, 23)):
        feeds = feeds_for(session, batch, length)
        with torch.no_grad():
            try:
                expected = outputs(module(**{k: torch.from_numpy(v) for k, v in feeds.items()}))
            except Exception:
                if (batch, length) == (1, 16):
                    return row | {"compared": [], "reason": "the class does not take the graph's inputs by name"}
                continue
        try:
            actual = dict(zip(names, session.run(names, feeds), strict=True))
        except Exception as error:
            return {"result": "WRONG", "reason": f"batch {batch}, length {length}: {str(error)[:200]}"}
        for key in set(actual) & set(expected):
            a, b = actual[key], expected[key]
            if key == "logits" and result.report.task == "text-generation" and a.shape[1] == 1:
                b = b[:, -1:]  # of a prompt the scores of the last position alone
            if a.shape != b.shape:
                return {"result": "WRONG", "reason": f"'{key}' has shape {a.shape}, torch {b.shape}"}
            if a.size:
                difference = np.abs(a.astype(np.float64) - b).max() / max(1e-3, float(np.abs(b).max()))
                worst = max(worst, float(difference))
            compared.add(key)
        if worst > TOLERANCE:
            return {"result": "WRONG", "reason": f"batch {batch}, length {length}: off by {worst:.1e}"}
    row |= {"difference": worst, "compared": sorted(compared), "graph": names, "torch": sorted(expected)}
    return row


def feeds_for(session: Any, batch: int, length: int) -> dict[str, Any]:
    generator = np.random.default_rng(batch)
    types = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float)": np.float32, "tensor(bool)": bool}
    feeds = {}
    for value in session.get_inputs():
        shape = []
        for dim in value.shape:
            word = str(dim).lower()
            shape.append(
                dim if isinstance(dim, int)
                else batch if "batch" in word
                else 0 if word.startswith("past") and "+" not in word  # a state that starts empty
                else 64 if "height" in word or "width" in word
                else 4000 if "audio" in word
                else 3 if "channel" in word
                else length
            )  # fmt: skip
        kind = types[value.type]
        if kind is np.float32:
            feeds[value.name] = generator.standard_normal(shape).astype(kind)
        elif "mask" in value.name or kind is bool:
            feeds[value.name] = np.ones(shape, kind)
        elif "type" in value.name:
            feeds[value.name] = np.zeros(shape, kind)
        else:
            feeds[value.name] = generator.integers(3, 30, shape).astype(kind)
    return feeds


def outputs(result: Any) -> dict[str, Any]:
    return {k: v.numpy() for k, v in result.items() if hasattr(v, "numpy") and v is not None}


def next_step(row: dict[str, Any], folder: Path, class_name: str) -> dict[str, Any]:
    """Take the step that the hint names, and return what was tried and what came."""
    hint = row["hint"]
    out, checkpoint = folder / "tried", folder / "checkpoint"
    if sizes := dict(re.findall(r"--shape (\w+)=(\d+)", hint)):
        step = " ".join(f"--shape {k}={v}" for k, v in sizes.items())
        tried = attempt(checkpoint, out, class_name, shapes={k: int(v) for k, v in sizes.items()})
    elif match := re.search(r"--task ([a-z][a-z-]+)", hint):
        step, tried = match[0], attempt(checkpoint, out, class_name, task=match[1])
    elif "pad_token_id" in hint:
        step, tried = "pad_token_id in config.json", attempt(with_pad(checkpoint), out, class_name)
    elif inputs := re.findall(r"--input (\w+:(?:f32|i64)\S+\])", hint):
        step = " ".join(f"--input {text}" for text in inputs)
        tried = attempt(checkpoint, out, class_name, inputs=tuple(inputs))
    elif "example inputs" in hint and "(encoder" not in hint and "has the inputs" in row["reason"]:
        return {"tried": "", "came": "not tried: it takes inputs that only the user of the class has"}
    elif hint.startswith("no option changes this"):
        return {"tried": "", "came": "no step is named: neither exporter translates it"}
    elif "package.module:factory" in hint:
        step, tried = "package.module:factory", attempt(factory(folder, class_name, hint), out, class_name)
    else:
        return {"tried": "", "came": "no step that a script can take"}
    circle = tried["result"] != "exports" and cause(tried.get("reason", "")) == cause(row["reason"])
    return {"tried": step, "came": "CIRCLE" if circle else f"{tried['result']}: {tried.get('reason', '')}"[:300]}


def cause(reason: str) -> str:
    """Return what a refusal is about: no names of files, modules and sizes, no sentence that another is put into."""
    reason = re.sub(r"'sweep_\w+:load' fails: \w+: ", "", reason)
    reason = re.sub(r" \(sweep_\w+\.py, line \d+\)", "", reason)
    reason = re.sub(r"^.{0,60}?(cannot be exported to ONNX|translates the forward of '\w+'): ", "", reason)
    reason = re.sub(r"/[\w./\-]+/", "", reason)
    return re.sub(r"\d+", "0", reason).strip(" .")[:120]


def with_pad(checkpoint: Path) -> Path:
    import json

    path = checkpoint / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pad_token_id": 0}))
    return checkpoint


def factory(folder: Path, class_name: str, hint: str) -> str:
    """Write a module whose function returns what the hint asks for, and return its reference.

    It is the model, or (its encoder, example inputs).
    """
    name = f"sweep_{folder.name.lower().replace('-', '_')}"
    result = "model"
    if "(encoder" in hint:
        result = "examples(model.get_encoder())"
    elif "(module" in hint:
        result = "examples(model)"
    (folder / f"{name}.py").write_text(
        "import transformers\nfrom edgekit.frameworks import traced_config\n\n\n"
        "def examples(part):\n"
        "    return part, traced_config.describe(part).generate_dummy_inputs()\n\n\n"
        "def load():\n"
        f"    model = transformers.{class_name}.from_pretrained({str(folder / 'checkpoint')!r}).eval()\n"
        f"    return {result}\n"
    )
    sys.path.insert(0, str(folder))
    return f"{name}:load"
