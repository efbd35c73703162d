"""Plain torch modules: how their inputs, outputs and free sizes are found, and how a user's mistake is reported."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from edgekit.errors import BuildError, UnsupportedError, UsageError
from edgekit.evaluation.dataset import synthetic_feeds
from edgekit.model import Reference
from edgekit.sources.torch_module import TorchModule, load_module
from edgekit.spec import TensorSpec
from tests.wording import mentions, raises

RANDOM = np.random.default_rng(0)
X = RANDOM.standard_normal((3, 3, 32, 32), np.float32)
SCALE = np.full((3, 5), 2, np.float32)


@pytest.fixture(autouse=True)
def in_the_users_folder(tmp_path, monkeypatch) -> None:
    """Run in a folder with a package `mine` that holds the user's networks."""
    (tmp_path / "mine").mkdir()
    shutil.copy(Path(__file__).parent / "user_networks.py", tmp_path / "mine" / "nets.py")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "mine.nets", raising=False)
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)


def reference(name: str, *inputs: str, **options) -> Reference:
    return Reference(ref=f"mine.nets:{name}", inputs=tuple(map(TensorSpec.parse, inputs)), **options)


@pytest.mark.parametrize(
    ("name", "inputs", "feeds", "described"),
    [
        ("with_example", (), {"x": X}, ["x:f32[batch,3,32,32]", "output:f32[batch,5]"]),
        ("bare", ("images:f32[batch,3,H,W]",), {"images": X}, ["images:f32[batch,3,H,W]", "output:f32[batch,5]"]),
        (
            "with_dict",
            (),
            {"x": X, "scale": SCALE},
            ["scale:f32[batch,5]", "x:f32[batch,3,32,32]", "logits:f32[batch,5]", "features:f32[batch,5]"],
        ),
        ("with_attribute", (), {"x": X[:, :, :16, :16]}, ["x:f32[batch,3,16,16]", "output:f32[batch,5]"]),
        ("one_only", (), {"x": np.ones((1, 4), np.float32)}, ["x:f32[1,4]", "output:f32[1,4]"]),
        (
            "recurrent",
            ("x:f32[batch,time,4]",),
            {"x": RANDOM.standard_normal((3, 7, 4), np.float32)},
            ["x:f32[batch,time,4]", "output_0:f32[batch,time,6]", "output_1:f32[1,batch,6]"],
        ),
        (
            "same_names",
            (),
            {"x": np.ones((3, 4), np.float32)},
            ["x:f32[batch,4]", "x_output:f32[batch,4]", "same:f32[batch,4]"],
        ),
        ("by_batch", (), {"x": np.ones((1, 4), np.float32)}, ["x:f32[1,4]", "output:f32[1,4]"]),
        ("named", (), {"x": SCALE, "scale": SCALE}, ["x:f32[batch,5]", "scale:f32[batch,5]", "output:f32[batch,5]"]),
        (
            "any_names",
            (),
            {"x": SCALE, "scale": SCALE},
            ["x:f32[batch,5]", "scale:f32[batch,5]", "output:f32[batch,5]"],
        ),
        ("table", (), {"ids": np.ones((3, 5), np.int64)}, ["ids:i64[batch,5]", "output:f32[]"]),
        (
            "any_number",
            (),
            {"input_0": np.ones((3, 4), np.float32), "input_1": np.ones((3, 3), np.float32)},
            ["input_0:f32[batch,4]", "input_1:f32[batch,3]", "output_0:f32[batch,4]", "output_1:f32[batch,3]"],
        ),
    ],
)
def test_modules_export_as_they_run(name, inputs, feeds, described, tmp_path, export, run_graph):
    (tmp_path / "work").mkdir()
    feeds = {name: array.copy() for name, array in feeds.items()}
    before = {name: array.copy() for name, array in feeds.items()}
    model = TorchModule().load(reference(name, *inputs), tmp_path / "work")
    exported = export(model)
    assert [str(spec) for spec in (*exported.part.inputs, *exported.part.outputs)] == described
    expected = model.original.run(feeds)
    outputs = run_graph(exported, feeds)
    assert list(outputs) == list(expected)
    for output, array in expected.items():
        np.testing.assert_allclose(outputs[output], array, atol=1e-5)
    for feed, array in feeds.items():
        np.testing.assert_array_equal(array, before[feed], "a model that changes its input changes a copy")


def test_generated_integers_stay_in_the_range_that_the_model_takes(tmp_path):
    for name in ("given", "described"):
        (tmp_path / name).mkdir()
    with_examples = TorchModule().load(reference("table"), tmp_path / "given")
    assert with_examples.input_hints.integer_ranges == {"ids": (3, 6)}
    described = TorchModule().load(reference("bare_table", "ids:i64[batch,length]"), tmp_path / "described")
    assert described.input_hints.integer_ranges == {"ids": (0, 11)}
    specs = (TensorSpec.parse("ids:i64[2,500]"),)
    for model, (low, high) in ((with_examples, (3, 6)), (described, (0, 11))):
        values = synthetic_feeds(specs, 0, model.input_hints)["ids"]
        assert (values.min(), values.max()) == (low, high)
        model.original.run({"ids": values})


def test_feeds_from_data_serve_as_examples(tmp_path, export):
    model = TorchModule().load(reference("bare"), tmp_path, lambda: {"x": X[:1]})
    assert str(export(model).part.inputs[0]) == "x:f32[batch,3,32,32]"


def test_data_is_not_read_where_the_module_brings_examples(tmp_path):
    def read():
        raise AssertionError("the data was read")

    assert TorchModule().load(reference("table"), tmp_path, read).input_hints.integer_ranges == {"ids": (3, 6)}
    TorchModule().load(reference("bare_table", "ids:i64[batch,length]"), tmp_path, read)
    with pytest.raises(AssertionError):
        TorchModule().load(reference("bare"), tmp_path, read)


@pytest.mark.parametrize(
    ("name", "reason"),
    [("one_only", "run"), ("by_batch", "outputs")],
)
def test_a_fixed_batch_of_one_is_noted(name, reason, tmp_path, export):
    model = TorchModule().load(reference(name), tmp_path)
    assert any(mentions(note, "batch", "1", reason) for note in export(model).steps[-1].notes)


def test_compiled_modules_are_refused(tmp_path):
    with raises(UnsupportedError, "TorchScript", hint="nn.Module"):
        TorchModule().load(reference("scripted"), tmp_path)


@pytest.mark.parametrize(
    ("ref", "message", "hint"),
    [
        (reference("bare"), "'Net'", "--input"),
        (
            reference("fails"),
            ["'mine.nets:fails'", "RuntimeError: the weights are on another disk", "nets.py"],
            "nn.Module",
        ),
        (reference("exits"), ["'mine.nets:exits'", "SystemExit: 3", "nets.py"], "nn.Module"),
        (reference("no_module"), ["'mine.nets:no_module'", "int", "nn.Module"], "return"),
        (reference("nothing"), ["'mine.nets'", "'nothing'"], "mine.nets:nothing"),
        (reference("broken_weights"), ["'Net'", "1 of 40", "'head.weight'"], "checkpoint"),
        (
            reference("wrong_example"),
            ["Net", "float32[1, 4, 8, 8]", "RuntimeError"],
            "--input",
        ),
        (reference("too_many"), ("3 tensors", "Net.forward", "2", "x, scale"), "one example"),
        (reference("no_tensor"), "str", "tensors"),
        (
            reference("with_example", "x:f32[batch,1,32,32]"),
            ("float32[1, 3, 32, 32]", "x:f32[batch,1,32,32]"),
            None,
        ),
        (Reference(ref="mine.absent:net"), ("'mine.absent'", "ModuleNotFoundError"), "import mine.absent"),
        (Reference(ref="nowhere:net"), ["'nowhere'", "'nowhere:net'"], "run from the folder"),
    ],
    ids=lambda value: value.ref if isinstance(value, Reference) else "",
)
def test_mistakes_are_reported_in_the_users_terms(ref, message, hint, tmp_path):
    with raises(UsageError, message) as caught:
        TorchModule().load(ref, tmp_path)
    assert hint is None or hint in caught.value.hint


def test_branches_on_values_fail_the_export(tmp_path, export):
    model = TorchModule().load(reference("branching"), tmp_path)
    with raises(BuildError, "ONNX", "GuardOnDataDependentSymNode", hint="--input") as caught:
        export(model)
    assert "branch" in caught.value.hint and caught.value.__cause__ is not None


def test_only_dotted_names_are_claimed():
    source = TorchModule()
    assert source.claims("package.module:factory") and source.claims("nets:Class.make")
    assert not any(source.claims(ref) for ref in ("./nets.py", "hf:org/name", "model.onnx", "C:/models"))


def test_a_module_of_the_caller_is_left_unchanged(tmp_path, export, run_graph):
    from tests.sources.user_networks import Net

    net = Net().train()
    model = load_module((net, torch.randn(1, 3, 32, 32)), Reference(ref="live"), tmp_path)
    exported = export(model)
    assert net.training
    feeds = {"x": X}
    # In training mode the dropout would make these differ from run to run.
    np.testing.assert_allclose(
        run_graph(exported, feeds)["output"], net.eval()(torch.from_numpy(X)).detach(), atol=1e-5
    )


def test_a_part_of_a_transformers_model_is_a_plain_module(tmp_path, export, run_graph):
    import transformers

    torch.manual_seed(0)
    config = transformers.T5Config(vocab_size=20, d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2)
    net = transformers.T5EncoderModel(config).eval()
    ids = torch.arange(6)[None]
    model = load_module((net, {"input_ids": ids}), Reference(ref="live"), tmp_path)
    (got,) = run_graph(export(model), {"input_ids": ids.numpy()}).values()
    (want,) = model.original.run({"input_ids": ids.numpy()}).values()
    np.testing.assert_allclose(got, want, atol=1e-5)
    # Without example inputs its own are found, and the size of the sequence stays free.
    model = load_module(net, Reference(ref="live"), tmp_path)
    exported = export(model)
    assert str(exported.part.inputs[0]) == "input_ids:i64[batch_size,sequence_length]"
    feeds = {"input_ids": np.arange(9)[None], "attention_mask": np.ones((1, 9), np.int64)}
    (got,), (want,) = run_graph(exported, feeds).values(), model.original.run(feeds).values()
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_a_transformers_model_of_the_caller_is_exported_as_its_checkpoint(tmp_path, export):
    from transformers import AutoModelForImageClassification

    folder = Path(__file__).parent.parent / "fixtures" / "transformers5" / "vit"
    net = AutoModelForImageClassification.from_pretrained(folder)
    model = load_module(net, Reference(ref="live", processor=str(folder)), tmp_path)
    exported = export(model)
    assert (exported.task, exported.info.exporter) == ("image-classification", "optimum")
    assert str(exported.part.inputs[0]) == "pixel_values:f32[batch_size,3,32,32]"


def test_resnet20_computes_the_same_when_exported(assets, tmp_path, export, run_graph):
    from tests.nets import resnet20

    net = resnet20(assets / "resnet-cifar10" / "resnet20.safetensors").eval()
    spec = TensorSpec.parse("images:f32[batch,3,32,32]")
    model = load_module(net, Reference(ref="live", inputs=(spec,)), tmp_path)
    exported = export(model)
    np.testing.assert_allclose(
        run_graph(exported, {"images": X})["output"], model.original.run({"images": X})["output"], atol=1e-4
    )
