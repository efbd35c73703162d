"""How each runtime is run: loaded with its own API and defaults for latency, called on bound inputs where it can be.

Each class answers as an edgekit backend does in a measuring process (`open`, then `run` and `bind`), so that one
protocol and one clock serve all of them. Options: `threads`, and what a tool's artifact says.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.errors import UnsupportedError
from edgekit.plugin import Payload, Precision
from edgekit.spec import TensorSpec

Feeds = Mapping[str, np.ndarray]


class _Session:
    """What they share: specs, threads, and the ends of a session's life."""

    def __init__(self, payload: Payload) -> None:
        self.payload = payload
        self.inputs, self.outputs = payload.part.inputs, payload.part.outputs
        self.threads = int(payload.options["threads"])

    @property
    def precision(self) -> Precision:
        """Return what the artifact was made in, where the runtime cannot be asked."""
        precision = self.payload.options.get("precision")
        if precision is None:
            raise UnsupportedError("this runtime does not tell the precision it computes in.")
        return Precision(str(precision))

    def profile(self, feeds: Feeds) -> Any:
        raise UnsupportedError("the suite takes no layer times.")

    def close(self) -> None:
        pass


class _Torch(_Session):
    def __init__(self, payload: Payload) -> None:
        import torch

        from suite.network import load

        super().__init__(payload)
        torch.set_num_threads(self.threads)
        self._torch = torch
        self._module = load(Path(str(payload.options["subject"])))

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        with self._torch.inference_mode():
            output = self._module(*(self._torch.from_numpy(np.array(feeds[spec.name])) for spec in self.inputs))
        return {"output": output.numpy()}

    def bind(self, feeds: Feeds) -> Callable[[], None]:
        held = [self._torch.from_numpy(np.array(feeds[spec.name])) for spec in self.inputs]
        module, mode = self._module, self._torch.inference_mode

        def bound() -> None:
            with mode():
                module(*held)

        return bound


class _OnnxRuntime(_Session):
    def __init__(self, payload: Payload) -> None:
        import onnxruntime

        super().__init__(payload)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = self.threads
        self._ort = onnxruntime
        self._session = onnxruntime.InferenceSession(str(payload.main), settings, ["CPUExecutionProvider"])
        self._names = [port.name for port in self._session.get_outputs()]
        self._wanted = [port.name for port in self._session.get_inputs()]

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        outputs = self._session.run(self._names, {name: feeds[name] for name in self._wanted})
        return dict(zip(self._names, outputs, strict=True))

    def bind(self, feeds: Feeds) -> Callable[[], None]:
        binding = self._session.io_binding()
        value = self._ort.OrtValue
        held = {name: value.ortvalue_from_numpy(np.array(feeds[name], order="C")) for name in self._wanted}
        for name, fed in held.items():
            binding.bind_ortvalue_input(name, fed)
        for name, array in self.run(feeds).items():
            place = value.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
            binding.bind_ortvalue_output(name, place)
        call = self._session.run_with_iobinding

        def bound(held: object = held) -> None:  # the binding only borrows the inputs
            call(binding)

        return bound

    @property
    def precision(self) -> Precision:
        """Ask ONNX Runtime's profiler which types its kernels computed in, as edgekit's plugin reads it."""
        from edgekit_onnxruntime.session import OnnxRuntimeSession

        payload = self.payload
        # Of outputs the plugin wants the names alone here.
        outputs = tuple(TensorSpec(name, "f32", ("size",)) for name in self._names)
        part = replace(payload.part, outputs=outputs)
        with closing(OnnxRuntimeSession(replace(payload, part=part, options={"threads": self.threads}))) as session:
            return session.precision


class _OpenVino(_Session):
    def __init__(self, payload: Payload) -> None:
        import openvino

        super().__init__(payload)
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        if hint := payload.options.get("inference_precision"):
            settings["INFERENCE_PRECISION_HINT"] = hint
        self._openvino = openvino
        self._compiled = openvino.Core().compile_model(str(payload.main), "CPU", settings)
        self._request = self._compiled.create_infer_request()
        self._wanted = {port.any_name for port in self._compiled.inputs}

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        outputs = self._request.infer({name: array for name, array in feeds.items() if name in self._wanted})
        return {f"output{index}": array for index, array in enumerate(outputs.values())}

    def bind(self, feeds: Feeds) -> Callable[[], None]:
        request = self._compiled.create_infer_request()
        for name in self._wanted:
            request.set_tensor(name, self._openvino.Tensor(np.array(feeds[name], order="C")))
        infer = request.infer
        infer(share_outputs=True)

        def bound() -> None:
            infer(share_outputs=True)

        return bound

    @property
    def precision(self) -> Precision:
        """Read the compiled graph, as edgekit's plugin does."""
        from edgekit_openvino import layers

        inference = self._compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        return layers.precision(self._compiled.get_runtime_model(), inference)


class _ExecuTorch(_Session):
    def __init__(self, payload: Payload) -> None:
        import torch
        from executorch.extension.pybindings import _portable_lib
        from executorch.runtime import Runtime

        super().__init__(payload)
        _portable_lib._unsafe_reset_threadpool(self.threads)
        self.threads = _portable_lib._threadpool_get_thread_count()
        self._torch = torch
        self._program = Runtime.get().load_program(Path(payload.main))
        self._method = self._program.load_method("forward")

    def run(self, feeds: Feeds) -> dict[str, np.ndarray]:
        outputs = self._method.execute([self._torch.from_numpy(np.array(feeds[spec.name])) for spec in self.inputs])
        return {"output": outputs[0].numpy().copy()}

    def bind(self, feeds: Feeds) -> Callable[[], None]:
        held = [self._torch.from_numpy(np.array(feeds[spec.name])) for spec in self.inputs]
        execute = self._method.execute

        def bound() -> None:
            execute(held)

        return bound


class _Runtime:
    """The face that a measuring process asks for."""

    session: type[_Session]

    def open(self, payload: Payload) -> _Session:
        return self.session(payload)


class Torch(_Runtime):
    """Eager torch under inference mode."""

    session = _Torch


class OnnxRuntime(_Runtime):
    """ONNX Runtime on the processor, inputs and outputs bound."""

    session = _OnnxRuntime


class OpenVino(_Runtime):
    """OpenVINO's latency hint, an infer request whose tensors are in place."""

    session = _OpenVino


class ExecuTorch(_Runtime):
    """ExecuTorch's runtime by its Python binding; tensors are handed over without a copy."""

    session = _ExecuTorch
