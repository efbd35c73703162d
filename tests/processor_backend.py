"""What runtimes of processors have in common beyond the contract: the tests of each of these plugins inherit it."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, closing
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import onnx
import pytest
from onnx import helper

from edgekit.errors import ArtifactError, BuildError, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.plugin import Backend, Built, Payload
from edgekit.spec import TensorSpec
from edgekit.target import host
from edgekit.target.target import Target
from edgekit.testing.backend import BackendTests, linear_bias, linear_weight
from tests.processor_graphs import CONV_X, SATURATES, conv_expected, conv_net, host_target, int8_net, value, write
from tests.wording import Fact, mentions, raises


def build(backend: Backend, model: Model, folder: Path, target: Target | None = None, **options: Any) -> Built:
    """Build what is supported into `folder`/built, as the core does."""
    work, target = folder / "built", target or host_target()
    work.mkdir()
    if problems := backend.supports(model, target).problems:
        raise UnsupportedError("not supported:", problems=problems)
    return backend.build(model, target, options, work)


def session(backend: Backend, model: Model, folder: Path, **options: Any) -> AbstractContextManager[Any]:
    built = build(backend, model, folder, **options)
    return closing(backend.open(Payload(folder / "built", built.files, model.part, built.options)))


def difference(computed: np.ndarray, expected: np.ndarray) -> float:
    """Return the relative L2 distance."""
    return float(np.linalg.norm(computed - expected) / np.linalg.norm(expected))


class ProcessorBackendTests(BackendTests):
    """Return the fixture `backend`, and what the runtime calls its files and layers."""

    main_file: ClassVar[str]
    weights_file: ClassVar[str]
    """Where the weights are after a build from a graph that keeps them in `w/data.bin`."""
    float_layers: ClassVar[tuple[frozenset[str], ...]]
    """Kinds of layers that compute in float, one of each set."""
    int8_layers: ClassVar[tuple[str, ...]]
    bad_options: ClassVar[tuple[tuple[Mapping[str, object], Fact], ...]]
    """Options that are refused, and what the message names."""

    def model(self, folder: Path) -> Model:
        return write(
            folder,
            [helper.make_node("Gemm", ["x", "w", "b"], ["y"], "linear")],
            [value("x", ["N", 4])],
            [value("y", ["N", 3])],
            [("w", linear_weight()), ("b", linear_bias())],
        )

    def test_bad_options_name_the_right_ones(self, backend):
        for options, facts in self.bad_options:
            with raises(UsageError, facts):
                backend.options.from_dict(options)

    # What it supports

    def test_several_graphs_are_refused(self, backend, tmp_path):
        model, _ = conv_net(tmp_path / "model")
        model = replace(model, parts=(model.part, replace(model.part, name="decoder")))
        assert mentions(backend.supports(model, host_target()).problems[0], "2", "model, decoder")

    def test_free_sizes_are_refused_where_shapes_must_be_fixed(self, backend, tmp_path):
        model, _ = conv_net(tmp_path / "model")
        target = replace(host_target(), static_shapes_only=True)
        assert mentions(backend.supports(model, target).problems[0], "x:f32[N,3,8,8]")

    def test_foreign_operators_are_named_with_domain_and_node(self, backend, tmp_path):
        nodes = [
            helper.make_node("Swish9", ["x"], ["m"], "first", domain="acme"),
            helper.make_node("Swish9", ["m"], ["y"], domain="acme"),
        ]
        model = write(tmp_path, nodes, [value("x", [1])], [value("y", [1])], opsets=(("", 17), ("acme", 1)))
        with pytest.raises(UnsupportedError) as caught:
            build(backend, model, tmp_path)
        named, unnamed = caught.value.problems
        assert mentions(named, "Swish9", "'acme'", "'first'") and mentions(unnamed, "Swish9", "'y'")
        assert not any((tmp_path / "built").iterdir())

    def test_a_file_that_is_not_a_graph_is_a_build_error(self, backend, tmp_path):
        model, _ = conv_net(tmp_path)
        model.graph.write_bytes(b"garbage" * 99)
        with raises(BuildError, "'model.onnx'"):
            build(backend, model, tmp_path)

    # What is built

    def test_external_data_travels_with_the_graph(self, backend, tmp_path):
        source = tmp_path / "source"
        model, weights = conv_net(source)
        (source / "w").mkdir()
        proto = onnx.load(str(model.graph))
        onnx.save(proto, str(model.graph), save_as_external_data=True, location="w/data.bin", size_threshold=16)
        built = build(backend, model, tmp_path)
        assert built.files == (self.main_file, self.weights_file)
        shutil.rmtree(source)
        payload = Payload(tmp_path / "built", built.files, model.part, built.options)
        with closing(backend.open(payload)) as opened:
            computed, expected = opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)
        np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-4)
        data = tmp_path / "built" / self.weights_file
        data.write_bytes(data.read_bytes()[:100])
        with pytest.raises(ArtifactError):
            backend.open(payload)
        data.unlink()
        with raises(ArtifactError, f"'{self.weights_file}'"):
            backend.open(payload)

    def test_evidence_says_whether_this_is_the_target(self, backend, tmp_path):
        model, _ = conv_net(tmp_path / "model")
        assert build(backend, model, tmp_path).evidence == "built_on_device"
        other = "aarch64" if host.probe().arch == "x86_64" else "x86_64"
        shutil.rmtree(tmp_path / "built")
        built = build(backend, model, tmp_path, host_target(arch=other, isa=()))
        assert (built.evidence, built.requires["arch"]) == ("parsed", other)

    def test_full_range_int8_requires_wide_sums_on_x86(self, backend, tmp_path):
        model, _ = int8_net(tmp_path / "model")
        built = build(backend, model, tmp_path, host_target(arch="x86_64", isa=("avx2", "avx512_vnni")))
        assert set(built.requires["isa_any"]) == {"avx_vnni", "avx512_vnni", "amx_int8"}
        shutil.rmtree(tmp_path / "built")
        elsewhere = host_target(arch="x86_64", isa=("avx2",), board="another machine")
        with raises(UnsupportedError, "'w_quantized'", "avx512_vnni", hint="reduce_range = true"):
            build(backend, model, tmp_path, elsewhere)

    @pytest.mark.skipif(not SATURATES or host.probe().arch != "x86_64", reason="sums of products do not saturate here")
    def test_full_range_int8_is_measured_where_it_saturates(self, backend, tmp_path):
        """On this machine the gate measures what saturation costs; on another one nothing would."""
        model, _ = int8_net(tmp_path / "model")
        built = build(backend, model, tmp_path)
        assert any(mentions(note, "saturate") for note in built.notes)
        assert "isa_any" not in built.requires

    def test_seven_bit_weights_run_on_any_x86(self, backend, tmp_path):
        model, _ = int8_net(tmp_path / "model", reduce_range=True)
        built = build(backend, model, tmp_path, host_target(arch="x86_64", isa=("avx2",)))
        assert "isa_any" not in built.requires

    # What really runs

    def test_float_runs_in_f32_and_agrees_with_numpy(self, backend, tmp_path):
        model, weights = conv_net(tmp_path / "model")
        with session(backend, model, tmp_path) as opened:
            assert opened.precision.main == "f32" and set(opened.precision.layers) == {"f32"}
            computed, expected = opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)
            kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
        np.testing.assert_allclose(computed, expected, rtol=1e-4, atol=1e-4)
        for names in self.float_layers:
            assert {precision for kind, precision in kinds.items() if kind in names} == {"f32"}

    def test_static_int8_runs_in_int8(self, backend, tmp_path):
        model, weights = int8_net(tmp_path / "model", reduce_range=SATURATES)
        with session(backend, model, tmp_path) as opened:
            assert opened.precision.main == "i8"
            assert 1e-6 < difference(opened.run({"x": CONV_X})["y"], conv_expected(CONV_X, weights)) < 0.05
            kinds = {layer.kind: layer.precision for layer in opened.profile({"x": CONV_X})}
        assert {kinds[name] for name in self.int8_layers} == {"i8"}

    # Feeds

    def test_sizes_may_change_from_run_to_run(self, backend, tmp_path):
        model, weights = conv_net(tmp_path / "model")
        with session(backend, model, tmp_path) as opened:
            for count in (1, 2, 1):
                x = CONV_X[:count]
                np.testing.assert_allclose(opened.run({"x": x})["y"], conv_expected(x, weights), rtol=1e-4, atol=1e-4)
            with raises(UsageError, "'x'", "[2, 3, 8, 4]", "x:f32[N,3,8,8]"):
                opened.run({"x": CONV_X[..., :4]})
            with raises(UsageError, "'x'", "list", "float32"):
                opened.run({"x": [[1.0]]})
            with raises(UsageError, "'x'", "float64", "float32"):
                opened.profile({"x": CONV_X.astype(np.float64)})

    def test_a_manifest_that_names_other_tensors_is_an_artifact_error(self, backend, tmp_path):
        model, _ = conv_net(tmp_path / "model")
        built = build(backend, model, tmp_path)
        other = replace(model.part, outputs=(TensorSpec("logits", "f32", ("N", 10)),))
        with raises(ArtifactError, f"'{self.main_file}'", "logits"):
            backend.open(Payload(tmp_path / "built", built.files, other, built.options))

    # The probe

    def test_probe_on_32_bit_arm_says_that_there_are_no_wheels(self, backend, monkeypatch):
        monkeypatch.setattr("platform.machine", lambda: "armv7l")
        monkeypatch.setitem(sys.modules, self.runtime[0], None)
        probe = backend.probe()
        assert not probe.available
        assert mentions(probe.problems[0], "armv7l") and mentions(probe.hint, "64-bit")
