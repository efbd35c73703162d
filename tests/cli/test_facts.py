"""What is read without a framework: requirements, ONNX files, checkpoints; and what the doctor reports."""

from __future__ import annotations

import json
import math
import shutil
import sys
from pathlib import Path

import pytest

from edgekit import _requirement
from edgekit.cli import checkpoint_facts, diagnosis, package_checks
from edgekit.errors import UsageError
from edgekit.frameworks import onnx_facts
from tests.wording import mentions, raises


@pytest.mark.parametrize(
    ("version", "clause", "fits"),
    [
        ("2.13.0", ">=2.6", True),
        ("2.13.0+cpu", "<2.14", True),
        ("2.14.0", "<2.14", False),
        ("4.57", "==4.57.0", True),
        ("4.57.6", "==4.57.*", True),
        ("4.58.1", "==4.57.*", False),
        ("4.58.1", "!=4.57.*", True),
        ("2.1.9", "~=2.1.0", True),
        ("2.2.0", "~=2.1.0", False),
        ("2.9", "~=2.1", True),
        ("3.0", "~=2.1", False),
        ("1.0", ">1.0", False),
        ("1.0.1", ">1.0", True),
        ("1.0", "===1.0", True),
        ("1.0.0", "===1.0", False),
        ("1.5", ">=1.0,<2", True),
        ("2.0", ">=1.0,<2", False),
        ("2.0.0rc1", "<2", False),
        ("2.0.0rc1", ">=1.9", True),
        ("1.0", "=>1.0", False),
        ("one", ">=1.0", False),
    ],
)
def test_clauses(version, clause, fits):
    assert _requirement.satisfies(version, clause) is fits


def test_requirements_read():
    requirement = _requirement.read('Torch_Vision[extra] (>=0.2,<1) ; extra == "build" and python_version >= "3"')
    assert (requirement.name, requirement.clauses) == ("torch-vision", ("<1", ">=0.2"))
    assert requirement.applies("build") and not requirement.applies(None) and not requirement.applies("dev")
    old = _requirement.read("tomli>=2; python_version < '3'")
    assert not old.applies(None)
    assert _requirement.read("numpy").clauses == ()
    assert _requirement.read("x @ https://example.org/x.whl") is None


@pytest.fixture
def distributions(tmp_path, monkeypatch):
    """Install invented distributions, metadata only, on a path of their own."""
    monkeypatch.syspath_prepend(tmp_path)

    def install(name: str, version: str, *requires: str) -> None:
        folder = tmp_path / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir()
        lines = [f"Name: {name}", f"Version: {version}", *(f"Requires-Dist: {line}" for line in requires)]
        (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")

    return install


def findings(items):
    return {finding.name: finding for finding in items}


def test_the_doctor_names_the_bad_pin_and_the_line_that_fixes_it(distributions):
    distributions(
        "edgekit", "9.9", "click", 'madeup-torch<2.14,>=2.6; extra == "build"', 'madeup-onnx; extra == "build"',
        'madeup-missing>=1; extra == "build"',
    )  # fmt: skip
    distributions("madeup-torch", "2.14.1")
    distributions("madeup-onnx", "1.0", "madeup-helper<5,>=4.2")
    distributions("madeup-helper", "5.1")
    by_name = findings(package_checks.build_packages())
    bad = by_name["package madeup-torch"]
    assert bad.state == "broken"
    assert mentions(bad.words, ("2.14.1", "edgekit", "<2.14"))
    assert bad.hint == "pip install 'madeup-torch>=2.6,<2.14'"
    clash = by_name["package madeup-helper"]
    assert mentions(clash.words, ("5.1", "madeup-onnx", "<5"))
    assert clash.hint == "pip install 'madeup-helper>=4.2,<5'"
    missing = by_name["build packages"]
    assert missing.state == "broken" and mentions(missing.words, "madeup-missing")
    assert by_name["package madeup-onnx"].state == "ok"


def test_a_device_without_the_build_side_is_well(distributions):
    distributions("edgekit", "9.9", 'madeup-torch>=2.6; extra == "build"')
    (first, *_) = package_checks.build_packages()
    assert (first.name, first.state, first.hint) == ("build packages", "ok", "pip install 'edgekit[build]'")


def test_a_plugin_that_kills_python_is_named():
    code = "import os, signal; os.kill(os.getpid(), signal.SIGILL)"
    assert (answer := package_checks.child(code))[0] is None and mentions(answer[1], "signal 4")
    assert package_checks.child("raise ImportError('libx is missing')") == (None, "libx is missing")


def test_a_full_or_readonly_cache_disk_is_broken(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12, 10**6))
    assert diagnosis._disk().state == "broken"


def test_the_doctor_on_this_machine(shell):
    done = shell("doctor", "--json")
    facts = json.loads(done.stdout)
    by_name = {f["name"]: f for f in (facts["findings"] if done.returncode == 0 else facts["report"]["findings"])}
    assert done.returncode == (3 if any(f["state"] == "broken" for f in by_name.values()) else 0)
    assert by_name["plugin onnxruntime"]["state"] == "ok", by_name
    assert by_name["python"]["state"] == "ok" and sys.executable in by_name["python"]["words"]
    assert "switches off" in by_name["telemetry"]["words"]
    text = shell("doctor")
    assert text.returncode == done.returncode
    assert "plugin onnxruntime" in text.stdout


def test_the_doctor_imports_nothing_heavy():
    code = (
        "import sys\nfrom edgekit.cli import diagnosis\nlist(diagnosis.findings(imports=False))\n"
        "print([n for n in ('numpy','torch','onnx','onnxruntime','openvino','transformers') if n in sys.modules])"
    )
    loaded, fault = package_checks.child(code + f"\nprint({package_checks.MARK!r} + '{{}}')")
    assert loaded == {}, fault
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_onnx_facts_agree_with_onnx(assets):
    onnx = pytest.importorskip("onnx")
    for path in (assets / "fastestdet/FastestDet.onnx", assets / "silero-vad/silero_vad.onnx"):
        facts, proto = onnx_facts.read(path), onnx.load(path)
        graph = proto.graph
        inner = list(_graphs(graph))
        assert facts.nodes == sum(len(each.node) for each in inner)
        assert facts.opsets == {entry.domain or "ai.onnx": entry.version for entry in proto.opset_import}
        names = {weight.name for weight in graph.initializer}
        weights = [weight for each in inner for weight in each.initializer]
        weights += [a.t for each in inner for node in each.node for a in node.attribute if a.HasField("t")]
        assert facts.weights == len(weights)
        assert [text.split(":")[0] for text in facts.inputs] == [i.name for i in graph.input if i.name not in names]
        assert facts.parameters == sum(math.prod(weight.dims) for weight in weights) > 200_000
        assert facts.operators["Conv"] == sum(node.op_type == "Conv" for each in inner for node in each.node)


def _graphs(graph):
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _graphs(attribute.g)


def test_onnx_facts_name_external_files(tmp_path):
    onnx = pytest.importorskip("onnx")
    import numpy as np
    from onnx import helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((64, 64), np.float16), "w")
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [info("x", onnx.TensorProto.FLOAT16, ["batch", 64])],
        [info("y", onnx.TensorProto.FLOAT16, ["batch", 64])],
        [weight],
    )
    path = tmp_path / "m.onnx"
    onnx.save(helper.make_model(graph), path, save_as_external_data=True, location="m.data", size_threshold=0)
    facts = onnx_facts.read(path)
    assert (facts.external, facts.inputs, facts.types) == (("m.data",), ("x:f16[batch,64]",), {"f16": 4096})


@pytest.mark.parametrize("content", [b"", b"hello, this is not a model", b"\x08\x07\x3a\xff\xff\x03cut"])
def test_onnx_facts_refuse_other_files(content, tmp_path, run):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with raises(UsageError, "m.onnx'", hint="truncated"):
        onnx_facts.read(path)
    assert run("inspect", path).exit_code == 2


@pytest.fixture
def digits(tmp_path) -> Path:
    import edgekit

    copy = tmp_path / "digits"
    shutil.copytree(Path(edgekit.__file__).parent / "embedded" / "digits", copy)
    return copy


def test_checkpoint_facts(digits, run):
    facts = checkpoint_facts.read(digits)
    assert facts.labels == 10
    assert facts.weights == ("model.safetensors",)
    assert facts.parameters > 1000
    (digits / "extra.bin").touch()
    assert checkpoint_facts.read(digits).pickles == ("extra.bin",)
    assert "architectures" in run("inspect", digits).stdout


def test_a_truncated_checkpoint_is_refused(digits):
    weights = digits / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with raises(UsageError, "model.safetensors'", "cut off"):
        checkpoint_facts.read(digits)
    weights.write_bytes(b"\xff" * 20)
    with raises(UsageError, "model.safetensors'", "header"):
        checkpoint_facts.read(digits)
