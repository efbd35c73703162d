"""The pass `nncf`: int8 by OpenVINO's own quantizer, on OpenVINO's own graph.

NNCF puts FakeQuantize nodes where the kernels of OpenVINO's plugins fuse them, smooths the activations of transformers
and corrects biases. It quantizes the converted model, not the ONNX file: of that it makes fewer layers int8 (MiniLM: 43
instead of 55) and takes five times as long. optimum-intel's OVQuantizer calls the same function on the same converted
model, so it would only add a dependency. NNCF's accuracy control is not used: it reverts layers by a metric on data
that it is given; here the repair does this for all runtimes, by the costs that `costs` measures and with the user's
own gate, on samples that were not used for calibration.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from edgekit.errors import UnsupportedError, UsageError, listed, nearest
from edgekit.plugin import ASSETS, Feeds, LayerCost, Model, Step, cached_step, package_versions
from edgekit_openvino.nncf_config import NncfConfig

COST_SAMPLES = 16
"""Samples on which each layer's cost is measured: the order of the layers needs far fewer samples than the ranges."""

MASKED = -1e30
"""A score that is added to this is 0 after the softmax."""

MOVES = {"Broadcast", "Concat", "Convert", "Reshape", "Slice", "Squeeze", "StridedSlice", "Transpose", "Unsqueeze"}
"""Operators that pass values on."""


@dataclass(frozen=True)
class Nncf(NncfConfig):
    """Quantize to int8 with NNCF, OpenVINO's own quantizer; the result is a model in OpenVINO's format."""

    name: ClassVar[str] = "nncf"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "openvino"
    needs_samples: ClassVar[bool] = True
    packages: ClassVar[tuple[str, ...]] = ("nncf", "openvino", "onnx")
    precision: ClassVar[str] = "i8"
    install: ClassVar[str] = "pip install 'edgekit-openvino[build]'"

    def apply(self, model: Model, samples: Feeds | None, workdir: Path) -> Model:
        """Write the int8 model into `workdir`.

        Raises UsageError without samples, UnsupportedError where nothing can be quantized, BuildError if NNCF fails.
        """
        started = time.perf_counter()
        samples = self._check(model, samples)
        from edgekit_openvino import ir

        folder, _ = cached_step(self._key(model, samples), "nncf", lambda work: self._write(model, samples, work))
        for name in ir.FILES:
            shutil.copyfile(folder / name, workdir / name)
        notes = json.loads((folder / "notes.json").read_text())
        if model.assets.is_dir():
            shutil.copytree(model.assets, workdir / ASSETS)
        part = replace(model.part, file=ir.FILES[0])
        precision = "i8" if model.precision == "f32" else f"i8+{model.precision}"
        quantized = replace(model, format=self.gives, parts=(part,), folder=workdir, precision=precision)
        seconds = round(time.perf_counter() - started, 3)
        tools = package_versions(self.packages)
        step = Step(self.name, self.to_dict(), tools, model.digest, quantized.digest, seconds, tuple(notes))
        return quantized.with_step(step)

    def costs(self, model: Model, samples: Feeds | None, workdir: Path) -> tuple[LayerCost, ...]:
        """Measure how quantizing each layer alone changes the outputs, on calibration samples."""
        samples = self._check(model, samples)
        from edgekit_openvino.costs import layer_costs

        # Corrected biases would change the outputs where their layer stays in float.
        uncorrected = replace(self, bias_correction="none")
        _, quantized = uncorrected._quantized(model, samples, folded=False)
        return layer_costs(quantized, samples.subsample(COST_SAMPLES))

    def _check(self, model: Model, samples: Feeds | None) -> Feeds:
        if samples is None or len(samples) == 0:
            raise UsageError(
                "int8 by NNCF needs samples to find the ranges of the activations; no samples are given.",
                hint="give data with --data, or choose a recipe that needs none: int8-dynamic, fp16 or bf16",
            )
        if model.precision not in ("f32", "bf16"):
            raise UnsupportedError(
                f"NNCF quantizes f32 models; this one is {model.precision}.", hint="use nncf alone in the recipe"
            )
        if len(model.parts) != 1:
            raise UnsupportedError(
                f"NNCF quantizes models of one graph; this one has {len(model.parts)}.",
                hint="use the recipe int8-dynamic, which needs no samples of each graph",
            )
        return samples if self.samples is None else samples.subsample(self.samples)

    def _key(self, model: Model, samples: Feeds) -> str:
        """Return a digest of all that decides the graph; the type of its float operators, f32 or bf16, does not."""
        code = [[path.name, path.read_text()] for path in sorted(Path(__file__).parent.glob("*.py"))]
        inputs = [self.to_dict(), package_versions(self.packages), model.digest, samples.digest, code]
        return hashlib.sha256(json.dumps(inputs, sort_keys=True).encode()).hexdigest()

    def _write(self, model: Model, samples: Feeds, work: Path) -> None:
        from edgekit_openvino import ir

        transformer, quantized = self._quantized(model, samples, folded=True)
        ir.write(quantized, work)
        count = sum(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops())
        notes = [
            f"{len(ir.layers(quantized))} layers with weights, {count} quantizers on activations, "
            f"{len(samples)} samples",
            "quantized as a transformer" if transformer else "not quantized as a transformer",
        ]
        (work / "notes.json").write_text(json.dumps(notes))

    def _quantized(self, model: Model, samples: Feeds, *, folded: bool) -> tuple[bool, Any]:
        """Return whether the model is a transformer, and the model with quantizers; `folded` makes its weights int8."""
        from edgekit.frameworks import onnx_graph
        from edgekit_openvino import ir
        from edgekit_openvino.build import convert
        from edgekit_openvino.calibrate import quantize

        proto = onnx_graph.read(model.graph)
        converted = convert(model, proto)
        ir.make_names_repeatable(converted, proto)
        transformer = self.architecture == "transformer" or (
            self.architecture == "auto" and ir.is_transformer(converted)
        )
        ignored = sorted({*_ignored(converted, self.exclude), *masked_sums(converted)})
        quantized = quantize(
            converted, self, samples, model.part.inputs, ignored, transformer=transformer, folded=folded
        )
        if not any(node.get_type_name() == "FakeQuantize" for node in quantized.get_ops()):
            raise UnsupportedError(
                "there is nothing to quantize: NNCF found no layer that has an int8 kernel.",
                hint="choose a recipe without int8: fp32, fp16 or bf16",
            )
        ir.make_names_repeatable(quantized, proto)
        return transformer, quantized


def masked_sums(model: Any) -> list[str]:
    """Return the friendly names of the sums of scores and an attention mask, which stay in float.

    A mask holds 0 and -inf, or the lowest float, by design: it has no range that could be quantized.
    """
    names = set()
    for node in model.get_ops():
        if node.get_type_name() != "Select":
            continue
        branches = [node.input_value(place).get_node() for place in (1, 2)]
        constants = [branch.get_data() for branch in branches if branch.get_type_name() == "Constant"]
        if not any(values.dtype.kind == "f" and values.size and values.min() <= MASKED for values in constants):
            continue
        reached = [node]
        while reached:
            for target in reached.pop().output(0).get_target_inputs():
                reader = target.get_node()
                if reader.get_type_name() == "Add":
                    names.add(reader.get_friendly_name())
                elif reader.get_type_name() in MOVES:
                    reached.append(reader)
    return sorted(names)


def _ignored(model: Any, exclude: Collection[str]) -> list[str]:
    """Return the friendly names of the layers to leave in float. Raises UsageError for an unknown name."""
    from edgekit_openvino import ir

    friendly_names: dict[str, list[str]] = {}
    for node in model.get_ops():
        friendly_names.setdefault(ir.layer_name(node), []).append(node.get_friendly_name())
        friendly_names.setdefault(node.get_friendly_name(), []).append(node.get_friendly_name())
    for name in exclude:
        if name not in friendly_names:
            raise UsageError(
                f"exclude: the graph has no node '{name}'.{nearest(name, friendly_names)}",
                hint=f"its nodes: {listed(friendly_names)}",
            )
    return sorted({friendly for name in exclude for friendly in friendly_names[name]})
