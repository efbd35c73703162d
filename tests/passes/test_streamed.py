"""Large language models: their weights are traced, packed and digested without ever being all in memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit import _record
from edgekit.frameworks import onnx_graph
from edgekit.model import Model, Reference
from edgekit.passes.export import streamed
from edgekit.passes.export.export import Export
from edgekit.passes.quantize import weight_packing
from edgekit.passes.quantize.weight_only import WeightOnly
from edgekit.sources.torch_module import InMemoryModule

torch = pytest.importorskip("torch")

SIZES = {"hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4}


def exported(folder: Path) -> Model:
    """Return the graph of a small Llama that reads its vocabulary's table and multiplies by it."""
    import transformers

    torch.manual_seed(0)
    config = transformers.LlamaConfig(**SIZES, vocab_size=200, num_key_value_heads=2, tie_word_embeddings=True)
    for name in ("loaded", "exported"):
        (folder / name).mkdir(parents=True)
    loaded = InMemoryModule(transformers.LlamaForCausalLM(config).eval()).load(Reference("model"), folder / "loaded")
    return Export().apply(loaded, None, folder / "exported")


def packed(model: Model, folder: Path, **config: Any) -> Model:
    folder.mkdir()
    return WeightOnly.from_dict(config).apply(model, None, folder)


def constants(model: Model) -> dict[str, np.ndarray]:
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(model.graph).graph.initializer}


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Model, Model]:
    """Return the model as one file, and with its weights in a file beside the graph."""
    folder = tmp_path_factory.mktemp("pair")
    whole = exported(folder / "whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streamed, "SINGLE_FILE_BYTES", 0)
        patch.setattr(streamed, "LEAST_BYTES", 512)
        return whole, exported(folder / "streamed")


def test_weights_beside_the_graph_are_those_in_it(pair: tuple[Model, Model]) -> None:
    whole, beside = pair
    assert onnx_graph.external_files(onnx_graph.read(beside.graph)) == ("model.onnx.data",)
    assert not onnx_graph.external_files(onnx_graph.read(whole.graph))
    expected, found = constants(whole), constants(beside)
    assert expected.keys() == found.keys() and len(found) > 15
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    kinds = [node.op_type for node in onnx_graph.read(whole.graph).graph.node]
    assert kinds.count("MatMul") == 2 * 9 + 2, "the products of weights and of attention, and the vocabulary's"
    matrices = [array for array in found.values() if array.ndim == 2]
    assert sorted(array.shape for array in matrices).count((64, 200)) == 1, "written transposed"


@pytest.mark.parametrize(
    "config", [{"bits": 4}, {"bits": 4, "symmetric": False}, {"bits": 8}, {"bits": 4, "embeddings": False}]
)
def test_weights_are_packed_from_one_file_into_another(
    pair: tuple[Model, Model], config: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole, beside = pair
    monkeypatch.setattr(weight_packing, "LEAST_BYTES", 512)
    before = beside.digest
    first, second = packed(whole, tmp_path / "whole", **config), packed(beside, tmp_path / "beside", **config)
    assert onnx_graph.external_files(onnx_graph.read(second.graph)) == ("model.onnx.data",)
    # Shapes that onnxruntime folds have other names in each graph.
    expected, found = (
        {name: array for name, array in constants(each).items() if array.size >= 64} for each in (first, second)
    )
    assert expected.keys() == found.keys() and len(found) > 30
    assert all(np.array_equal(found[name], array) for name, array in expected.items())
    assert second.steps[-1].notes == first.steps[-1].notes
    assert Model.digest.func(beside) == before, "the source is read only"


def test_a_weight_that_could_be_folded_is_read(make_graph: Any, make_model: Any, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Transpose", ["w"], ["wt"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "wt"], ["y"], name="product"),
    ]
    weight = np.random.default_rng(0).standard_normal((96, 64)).astype(np.float32)
    model = make_model(make_graph(nodes, ["x:f32[N,64]"], ["y:f32[N,96]"], {"w": weight}), tmp_path / "in")
    onnx.save(onnx.load(model.graph), model.graph, save_as_external_data=True, location="w.bin", size_threshold=0)
    types = [tensor.data_type for tensor in onnx.load(packed(model, tmp_path / "out", bits=4).graph).graph.initializer]
    assert TensorProto.INT4 in types


def test_weights_are_linked_and_digested_once(pair: tuple[Model, Model], tmp_path: Path) -> None:
    _, beside = pair
    onnx_graph.copy_model(beside.graph, ("model.onnx.data",), tmp_path, name="model.onnx")
    assert (tmp_path / "model.onnx.data").samefile(beside.graph.with_name("model.onnx.data"))
    file = tmp_path / "large"
    with file.open("wb") as opened:
        opened.truncate(_record.LARGE_BYTES)
    first = _record.digest_of_file(file)
    hits = _record._digest_of_large.cache_info().hits
    file = file.rename(tmp_path / "renamed")
    assert _record.digest_of_file(file) == first and _record._digest_of_large.cache_info().hits == hits + 1
    with file.open("r+b") as opened:
        opened.write(b"x")
    assert _record.digest_of_file(file) != first


MEASURED = """
import resource, sys
from pathlib import Path
import torch, transformers, onnx, onnxruntime
from edgekit.model import Model, Reference
from edgekit.passes.export.export import Export
from edgekit.passes.quantize.weight_only import WeightOnly
from edgekit.sources.hf import HuggingFace

def peak():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def anonymous():
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1000

folder = Path(sys.argv[1])
for name in ("loaded", "exported", "packed"):
    (folder / name).mkdir()
loaded = HuggingFace().load(Reference(sys.argv[2]), folder / "loaded")
before = anonymous()
exported = Export().apply(loaded, None, folder / "exported")
peak_of_export = anonymous()
del loaded
peak()
start = anonymous()
WeightOnly(bits=4).apply(exported, None, folder / "packed")
print(peak_of_export - before, anonymous() - start)
"""


@pytest.mark.nightly
def test_no_step_holds_the_weights_again(tmp_path: Path) -> None:
    """Growth of the process's peak in the export and in packing, of a model of 150 MB."""
    import transformers

    config = transformers.LlamaConfig(
        **{**SIZES, "hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 10}, vocab_size=8000
    )
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "checkpoint")
    weights = (tmp_path / "checkpoint" / "model.safetensors").stat().st_size
    command = [sys.executable, "-c", MEASURED, str(tmp_path), str(tmp_path / "checkpoint")]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    exporting, packing = map(int, result.stdout.split()[-2:])
    assert weights > 150e6
    # The export's growth has the mapped pages of the checkpoint in it, which loading had not touched yet.
    assert exporting < 0.6 * weights and packing < 0.4 * weights
