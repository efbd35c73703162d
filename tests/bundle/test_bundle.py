"""The bundle: opened only as it was made."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from edgekit import registry
from edgekit.bundle import staging
from edgekit.bundle.bundle import BundledPart, Manifest, unmet_requirements
from edgekit.bundle.bundle import open as open_bundle
from edgekit.cli import cli
from edgekit.errors import ArtifactError, EnvironmentFault, UsageError
from edgekit.model import Part, State
from edgekit.plugin import Built
from edgekit.spec import TensorSpec
from edgekit.target import target
from tests.bundles import change_manifest
from tests.wording import raises


def write(path, requires=None, text="payload"):
    with staging.folder(path) as stage:
        (stage / "model").mkdir()
        (stage / "model" / "model.onnx").write_text(text)
        spec = TensorSpec.parse("x:f32[1,2]")
        part = Part("model", "model.onnx", (spec,), (spec,))
        manifest = Manifest(
            name="b",
            model="m",
            task=None,
            backend="onnxruntime",
            recipe="fp32",
            target=target.load("host"),
            asked="f32",
            effective=None,
            evidence="parsed",
            parts=(BundledPart(part, ("model/model.onnx",), requires=requires or {}),),
            lineage=(),
        )
        staging.seal(stage, manifest)
    return path


def edit(path, **changes):
    change_manifest(path, lambda manifest: manifest.update(changes))


def edit_part(path, **changes):
    (part,) = json.loads((path / "manifest.json").read_text())["parts"]
    edit(path, parts=[{**part, **changes}])


def test_what_was_written_opens(tmp_path):
    bundle = open_bundle(write(tmp_path / "b"))
    assert bundle.payload.part.inputs == (TensorSpec("x", "f32", (1, 2)),)
    assert bundle.payload.main.read_text() == "payload"
    assert bundle.size_mb == pytest.approx(7e-6)


def test_the_digest_is_of_what_runs(tmp_path):
    a, b = write(tmp_path / "a"), write(tmp_path / "b", text="other")
    same = write(tmp_path / "c")
    digests = [open_bundle(path).manifest.digest for path in (a, b, same)]
    assert digests[0] == digests[2] != digests[1]


def test_no_bundle(tmp_path):
    with raises(UsageError, "nothing'", hint="edgekit export"):
        open_bundle(tmp_path / "nothing")
    with raises(UsageError, "manifest.json", hint="edgekit export"):
        open_bundle(tmp_path)


OUTSIDE = {"path": "../../etc/passwd", "bytes": 1, "sha256": ""}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: (b / "model/model.onnx").write_text("paylord"), ["'model/model.onnx'", "SHA-256"]),
        (lambda b: (b / "model/model.onnx").write_text("pay"), ("'model/model.onnx'", "3 bytes", "7")),
        (lambda b: (b / "model/model.onnx").unlink(), "'model/model.onnx'"),
        (lambda b: (b / "manifest.json").write_text("{"), ("manifest.json", "line 1 column 2")),
        (lambda b: (b / "manifest.json").write_text("[]"), ("manifest.json", "[]")),
        (lambda b: edit(b, schema=99), "schema 99"),
        (lambda b: edit(b, surprise=1), "'surprise'"),
        (lambda b: edit(b, files=[]), ["'model/model.onnx'", "hash"]),
        (lambda b: edit(b, files=[OUTSIDE]), ("'../../etc/passwd'", "outside")),
        (lambda b: edit_part(b, payload=["../x"]), ["'../x'", "hash"]),
        (lambda b: edit_part(b, requires={"arch": "riscv64"}), "riscv64"),
        (lambda b: edit_part(b, requires={"isa": ["amx_nope"]}), "amx_nope"),
        (lambda b: edit_part(b, requires={"isa_any": ["nope1", "nope2"]}), "nope1, nope2"),
        (lambda b: edit_part(b, requires={"packages": {"numpy": ">=99.0"}}), "numpy>=99.0"),
        (lambda b: edit_part(b, requires={"packages": {"numpy": ">=1.26,=>1"}}), "numpy>=1.26,=>1"),
        (lambda b: edit_part(b, requires={"packages": {"no-such-package": ">=1"}}), "pip install 'no-such-package>=1'"),
    ],
)
def test_a_bundle_that_is_not_as_it_was_made_is_refused(tmp_path, damage, message):
    path = write(tmp_path / "b")
    damage(path)
    with raises(ArtifactError, message):
        open_bundle(path)


def test_a_symbolic_link_out_of_the_bundle_is_refused(tmp_path):
    path = write(tmp_path / "b")
    (tmp_path / "outside").write_text("payload")
    (path / "model/model.onnx").unlink()
    (path / "model/model.onnx").symlink_to(tmp_path / "outside")
    with raises(ArtifactError, "'model/model.onnx'", "outside"):
        open_bundle(path)


def test_packages_in_range_are_met():
    assert unmet_requirements([{"packages": {"numpy": ">=1.26,<99"}}]) == ()


def test_samples_that_the_manifest_does_not_list_are_not_read(tmp_path):
    """A file manager's `._0-0.inputs.npz` is not a sample, and neither is an input without its output."""
    folder = write(tmp_path / "b")
    bundle = open_bundle(folder)
    (folder / "samples").mkdir()
    for name in ("._0-0.inputs.npz", "1-0.inputs.npz"):
        (folder / "samples" / name).write_bytes(b"none")
    assert bundle.samples() == []


def test_a_manifest_nested_without_end_is_damaged(tmp_path):
    folder = write(tmp_path / "b")
    (folder / "manifest.json").write_text("[" * 100_000)
    with raises(ArtifactError, "manifest.json'", hint="again"):
        open_bundle(folder)


def test_a_missing_backend_is_told_with_the_line_that_installs_it(tmp_path, monkeypatch):
    folder = write(tmp_path / "b", requires={"packages": {"onnxruntime": ">=1"}})
    monkeypatch.setattr(registry, "_table", lambda group: {})
    with raises(EnvironmentFault, "'onnxruntime'") as caught:
        open_bundle(folder)
    assert caught.value.hint == "pip install edgekit-onnxruntime"


def test_a_portable_bundle_is_finished_before_it_runs(tmp_path):
    path = write(tmp_path / "b")
    edit(path, portable=True)
    with raises(ArtifactError, "portable", hint="edgekit finish") as caught:
        open_bundle(path).session()
    assert f"edgekit finish {path}" in caught.value.hint


# Several parts: written and read; opened by a later version


SPEC = TensorSpec.parse("x:f32[1,2]")
HIDDEN = TensorSpec.parse("hidden:f32[1,N,8]")
ENCODER = Part("encoder", "encoder.onnx", (SPEC,), (HIDDEN,), writes={"hidden": "hidden"})
DECODER = Part("decoder", "decoder.onnx", (HIDDEN,), (SPEC,), reads={"hidden": "hidden"})
STATES = (State("hidden", HIDDEN),)


def compiled(folder, part, /, **built):
    """Return a part as a backend builds it: a graph of its own, and the weights that both share."""
    folder = folder / part.name
    folder.mkdir()
    (folder / "model.onnx").write_text(part.name)
    (folder / "weights.bin").write_text("weights" * 100)
    return part, Built(("model.onnx", "weights.bin"), **built), folder


def write_parts(path, *parts):
    with staging.folder(path) as stage:
        filled = staging.fill(stage, parts, "onnxruntime")
        manifest = Manifest(
            name="b",
            model="m",
            task=None,
            backend="onnxruntime",
            recipe="fp32",
            target=target.load("host"),
            asked="f32",
            effective=None,
            states=STATES,
            lineage=(),
            **filled,
        )
        staging.seal(stage, manifest)
    return path


@pytest.fixture
def pair(tmp_path):
    encoder = compiled(tmp_path, ENCODER, evidence="built_on_device", options={"threads": 1})
    return write_parts(tmp_path / "b", encoder, compiled(tmp_path, DECODER, evidence="parsed"))


def test_each_part_has_its_files_and_options_and_the_weakest_evidence_counts(pair):
    manifest = open_bundle(pair).manifest
    assert [part.part for part in manifest.parts] == [ENCODER, DECODER]
    assert [part.payload[0] for part in manifest.parts] == ["model/encoder/model.onnx", "model/decoder/model.onnx"]
    assert [dict(part.options) for part in manifest.parts] == [{"threads": 1}, {}]
    assert (manifest.evidence, manifest.states) == ("parsed", STATES)
    assert Manifest.from_dict(json.loads((pair / "manifest.json").read_text())) == manifest


def test_a_caller_feeds_and_gets_what_is_not_a_state(pair):
    manifest = open_bundle(pair).manifest
    states = {*ENCODER.writes, *DECODER.reads, *DECODER.writes}
    assert [spec.name for spec in manifest.inputs] == ["x"]
    assert not states & {spec.name for spec in (*manifest.inputs, *manifest.outputs)}


def test_equal_files_are_stored_once(pair):
    encoder, decoder = (pair / "model" / name / "weights.bin" for name in ("encoder", "decoder"))
    assert encoder.samefile(decoder)
    assert open_bundle(pair).size_mb == pytest.approx((len("encoder") + len("decoder") + 700) / 1e6)


@pytest.mark.parametrize("use", [lambda b: b.session(), lambda b: b.payload])
def test_several_parts_are_not_one_session(pair, use):
    with raises(ArtifactError, "2 parts", "encoder, decoder") as caught:
        use(open_bundle(pair))
    assert "runner()" in caught.value.hint
    program = open_bundle(pair).program
    assert [payload.part.name for payload in program.payloads] == ["encoder", "decoder"]
    assert program.states == STATES


def test_what_every_part_requires_is_checked(tmp_path):
    decoder = compiled(tmp_path, DECODER, requires={"arch": "riscv64", "packages": {"numpy": ">=99"}})
    path = write_parts(tmp_path / "b", compiled(tmp_path, ENCODER, requires={"arch": "riscv64"}), decoder)
    with raises(ArtifactError, "numpy>=99") as caught:
        open_bundle(path)
    assert caught.value.message.count("riscv64") == 1, "said once, though both parts do"


def test_a_state_that_the_manifest_does_not_list_is_a_damaged_manifest(pair):
    edit(pair, states=[])
    with raises(ArtifactError, ("'encoder'", "'hidden'")):
        open_bundle(pair)


def test_a_part_as_it_was_compiled_stands_in_the_manifest(tmp_path):
    fixed = replace(ENCODER, outputs=(TensorSpec.parse("hidden:f32[1,7,8]"),))
    path = write_parts(tmp_path / "b", compiled(tmp_path, ENCODER, part=fixed))
    bundle = open_bundle(path)
    assert bundle.payload.part == fixed
    assert bundle.payload.files == ("model/model.onnx", "model/weights.bin")


def test_every_part_is_shown(pair):
    shown = CliRunner().invoke(cli, ["inspect", str(pair)]).output
    for words in (
        "inputs    encoder: x:f32[1,2]",
        "outputs   encoder: none; decoder: x:f32[1,2]",
        "encoder: threads = 1",
        "hidden:f32[1,N,8] starts written",
    ):
        assert words in shown
