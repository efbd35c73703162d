"""What each tool does with a model: the shortest way that its own documentation shows, from the same checkpoint and the
same calibration samples. Each function fills `out` and gives what runs it; it is called in the tool's environment.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit._record import Record
from models.subject import Rows, Subject

FLOAT = "model.onnx"


@dataclass(frozen=True)
class Made(Record):
    """An artifact: the runtime that runs it, its file below the artifact's folder, and that runtime's options."""

    runtime: str
    file: str
    options: dict[str, Any] = field(default_factory=dict)
    size_mb: float | None = None
    """In MB of 10^6 bytes, where it is not the file's."""


def make_torch(folder: Path, base: Path, out: Path) -> Made:
    """Make nothing: the original in eager mode."""
    from suite.network import load

    state = load(folder).state_dict().values()
    shutil.copy(folder / "subject.json", out)
    size_mb = sum(tensor.numel() * tensor.itemsize for tensor in state) / 1e6
    return Made("Torch", "subject.json", {"precision": "f32", "subject": str(folder)}, size_mb)


def make_onnx(folder: Path, base: Path, out: Path) -> Made:
    """Export to float ONNX of fixed shapes: a checkpoint by optimum, a module by torch; every ONNX peer starts here."""
    subject = Subject.load(folder)
    if subject.kind == "onnx":
        shutil.copy(subject.reference, out / FLOAT)
    elif subject.kind == "transformers":
        _by_optimum(subject, folder, out)
    else:
        import torch

        from suite.network import calibration, load

        names = [spec.name for spec in Rows.load(folder / "calibration.npz").specs]
        sample = next(iter(calibration(folder)))
        torch.onnx.export(load(folder), sample, str(out / FLOAT), input_names=names, dynamo=True, external_data=False)
    return Made("OnnxRuntime", FLOAT)


def _by_optimum(subject: Subject, folder: Path, out: Path) -> None:
    import onnx
    from onnxruntime.tools.onnx_model_utils import fix_output_shapes, make_input_shape_fixed
    from optimum.exporters.onnx import main_export

    task = {"sentence-similarity": "feature-extraction"}.get(subject.task, subject.task)
    main_export(subject.reference, out / "export", task=task, library_name="transformers", do_validation=False)
    model = onnx.load(out / "export" / FLOAT)
    for spec in Rows.load(folder / "calibration.npz").specs:
        make_input_shape_fixed(model.graph, spec.name, [int(size) for size in spec.shape])
    fix_output_shapes(model)
    onnx.save(model, out / FLOAT)
    shutil.rmtree(out / "export")


def make_ort_dynamic(folder: Path, base: Path, out: Path) -> Made:
    """Quantize with optimum's ORTQuantizer, dynamic, as `optimum-cli onnxruntime quantize` does."""
    return _by_ort_quantizer(folder, base, out, static=False)


def make_ort_static(folder: Path, base: Path, out: Path) -> Made:
    """Quantize with optimum's ORTQuantizer, static, its default operators, ranges from the extremes."""
    return _by_ort_quantizer(folder, base, out, static=True)


def make_ort_static_matmul(folder: Path, base: Path, out: Path) -> Made:
    """Quantize with optimum's ORTQuantizer, static, MatMul, Gemm and Conv only."""
    return _by_ort_quantizer(folder, base, out, static=True, operators=["MatMul", "Gemm", "Conv"])


def _by_ort_quantizer(folder: Path, base: Path, out: Path, *, static: bool, operators: list[str] | None = None) -> Made:
    from optimum.onnxruntime import ORTQuantizer
    from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig
    from transformers import PretrainedConfig

    from edgekit.target import host

    isa = host.probe().isa
    flavour = "avx512_vnni" if "avx512_vnni" in isa else "avx512" if "avx512f" in isa else "avx2"
    config = getattr(AutoQuantizationConfig, flavour)(
        is_static=static, per_channel=static, **({"operators_to_quantize": operators} if operators else {})
    )
    print(f"optimum's configuration '{flavour}': {config}")
    quantizer = ORTQuantizer(base / FLOAT, PretrainedConfig())
    ranges = None
    if static:
        from datasets import Dataset

        rows = Dataset.from_list([{name: array[0] for name, array in feeds.items()} for feeds in _feeds(folder)])
        ranges = quantizer.fit(
            rows,
            AutoCalibrationConfig.minmax(rows),
            onnx_augmented_model_name=str(out / "augmented.onnx"),
            operators_to_quantize=config.operators_to_quantize,
            batch_size=1,
        )
        (out / "augmented.onnx").unlink(missing_ok=True)
    quantizer.quantize(config, out, file_suffix=None, calibration_tensors_range=ranges)
    return Made("OnnxRuntime", FLOAT)


def make_openvino(folder: Path, base: Path, out: Path) -> Made:
    """Convert with OpenVINO's own converter and save by its defaults; it chooses the precision that it runs in."""
    return _openvino(base, out)


def make_openvino_f32(folder: Path, base: Path, out: Path) -> Made:
    """Convert with OpenVINO, weights kept whole, and ask for f32."""
    return _openvino(base, out, {"inference_precision": "f32"})


def _openvino(base: Path, out: Path, options: dict[str, Any] | None = None) -> Made:
    import openvino

    model = openvino.convert_model(base / FLOAT)
    openvino.save_model(model, out / "model.xml", **({"compress_to_fp16": False} if options else {}))
    return Made("OpenVino", "model.xml", options or {})


def make_nncf(folder: Path, base: Path, out: Path) -> Made:
    """Quantize with nncf.quantize and its defaults; the model type for transformers, as its documentation asks."""
    import nncf
    import openvino

    kind = {"model_type": nncf.ModelType.TRANSFORMER} if Subject.load(folder).transformer else {}
    model = openvino.convert_model(base / FLOAT)
    quantized = nncf.quantize(model, nncf.Dataset(list(_feeds(folder))), **kind)
    openvino.save_model(quantized, out / "model.xml")
    return Made("OpenVino", "model.xml")


def make_olive(folder: Path, base: Path, out: Path) -> Made:
    """Run `olive auto-opt` for int8 on the processor: from the checkpoint, else from the float ONNX file."""
    return _by_olive(folder, base, out, "auto-opt")


def make_olive_optimize(folder: Path, base: Path, out: Path) -> Made:
    """Run `olive optimize`, which takes the place of auto-opt, for int8 on the processor."""
    return _by_olive(folder, base, out, "optimize")


def _by_olive(folder: Path, base: Path, out: Path, verb: str) -> Made:
    subject = Subject.load(folder)
    task = {"sentence-similarity": "feature-extraction"}.get(subject.task, subject.task)
    checkpoint = subject.kind == "transformers" and subject.transformer
    source = ["-m", subject.reference, "--task", task] if checkpoint else ["-m", str(base / FLOAT)]
    script = str(Path(sys.executable).parent / "olive")
    common = ["--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "int8", "--disable_telemetry"]
    if verb == "optimize" and checkpoint:  # its own choice, the model builder, is for models that generate
        source += ["--exporter", "dynamo_exporter"]
    with_home = {**os.environ, "OLIVE_CACHE_DIR": str(out / "cache")}
    command = [script, verb, *source, "-o", str(out / "olive"), *common]
    print(" ".join(command), flush=True)
    done = subprocess.run(command, cwd=out, env=with_home, check=False)
    models = sorted((out / "olive").rglob("*.onnx"))
    shutil.rmtree(out / "cache", ignore_errors=True)
    if done.returncode or not models:
        raise SystemExit(f"olive {verb} gave exit code {done.returncode} and {len(models)} ONNX files")
    return Made("OnnxRuntime", str(models[0].relative_to(out)))


def make_executorch(folder: Path, base: Path, out: Path) -> Made:
    """Lower to ExecuTorch's XNNPACK in float."""
    return _by_executorch(folder, out, quantized=False)


def make_executorch_int8(folder: Path, base: Path, out: Path) -> Made:
    """Quantize by PT2E with XNNPACK's symmetric per-channel quantizer, then lower to XNNPACK."""
    return _by_executorch(folder, out, quantized=True)


def _by_executorch(folder: Path, out: Path, *, quantized: bool) -> Made:
    import torch
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    from suite.network import calibration, load

    module = load(folder)
    sample = next(iter(calibration(folder)))
    with torch.no_grad():
        program = torch.export.export(module, sample)
        if quantized:
            from executorch.backends.xnnpack.quantizer.xnnpack_quantizer import (
                XNNPACKQuantizer,
                get_symmetric_quantization_config,
            )
            from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

            quantizer = XNNPACKQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
            prepared = prepare_pt2e(program.module(), quantizer)
            for inputs in calibration(folder):
                prepared(*inputs)
            program = torch.export.export(convert_pt2e(prepared), sample)
        lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    (out / "model.pte").write_bytes(lowered.to_executorch().buffer)
    return Made("ExecuTorch", "model.pte", {"precision": "i8" if quantized else "f32"})


def _feeds(folder: Path) -> Iterator[dict[str, np.ndarray]]:
    rows = Rows.load(folder / "calibration.npz")
    for index in range(len(rows)):
        yield rows.feeds(index)


Maker = Callable[[Path, Path, Path], Made]
