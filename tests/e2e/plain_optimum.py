"""A pass that does what optimum does when nothing is chosen: every operator it can, ranges from the extremes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from edgekit.data import Feeds
from edgekit.model import Model, Step
from edgekit.plugin import Record


@dataclass(frozen=True)
class PlainOptimum(Record):
    name: ClassVar[str] = "plain-optimum"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("optimum-onnx", "onnxruntime")

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        import shutil
        from dataclasses import replace

        from datasets import Dataset
        from optimum.onnxruntime import ORTQuantizer
        from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoQuantizationConfig
        from transformers import PretrainedConfig

        rows = Dataset.from_list([{name: array[0].tolist() for name, array in feeds.items()} for feeds in samples])
        quantizer = ORTQuantizer(model.graph, PretrainedConfig())
        config = AutoQuantizationConfig.avx512_vnni(is_static=True, per_channel=True)
        ranges = quantizer.fit(
            rows,
            AutoCalibrationConfig.minmax(rows),
            onnx_augmented_model_name=str(workdir / "augmented.onnx"),
            operators_to_quantize=config.operators_to_quantize,
            batch_size=1,
        )
        quantizer.quantize(config, workdir, file_suffix=None, calibration_tensors_range=ranges)
        (workdir / "augmented.onnx").unlink(missing_ok=True)
        shutil.copytree(model.assets, workdir / "assets")
        quantized = replace(model, folder=workdir, precision="i8")
        return quantized.with_step(Step(self.name, {}, {}, before=model.digest, after=quantized.digest, seconds=0.0))
