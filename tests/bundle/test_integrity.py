"""The proof in a bundle cannot be emptied: what is removed, raised or added is found, or said."""

from __future__ import annotations

import json
import math
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from edgekit._record import digest_of_file
from edgekit.bundle import verify
from edgekit.bundle.bundle import open as open_bundle
from edgekit.bundle.bundle import report_of
from edgekit.cli import cli
from edgekit.errors import ArtifactError, UsageError
from edgekit.report import accuracy
from edgekit.result.report import Quality
from tests.bundles import change_manifest, pictures, texts
from tests.wording import raises


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("kept"))


@pytest.fixture
def bundle(kept: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(kept, tmp_path / "out"))


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*map(str, words)])
    return result.exit_code, result.output


def relist(path: Path) -> None:
    """Write the sizes and hashes that the files have now into the manifest."""

    def change(manifest: dict) -> None:
        for file in manifest["files"]:
            place = path / file["path"]
            file |= {"bytes": place.stat().st_size, "sha256": digest_of_file(place)}

    change_manifest(path, change)


def without_samples(manifest: dict) -> None:
    manifest["files"] = [file for file in manifest["files"] if not file["path"].startswith("samples/")]


def before_schema_3(manifest: dict) -> None:
    manifest["schema"] = 2
    del manifest["seal"], manifest["stored"]


def test_what_was_written_is_verified(bundle: Path) -> None:
    report = verify.verify(bundle)
    assert report.ok and report.notes == () and report.candidates[0].quality.samples == 2


def test_no_bit_of_the_manifest_changes_unnoticed(bundle: Path) -> None:
    file, generator = bundle / "manifest.json", random.Random(0)
    whole = file.read_bytes()
    for _ in range(400):
        content = bytearray(whole)
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
        file.write_bytes(content)
        try:
            open_bundle(bundle)
        except ArtifactError:
            continue
        assert json.loads(content) == json.loads(whole), "only the writing of a number may differ, as 1e5 and 1E5"


@pytest.mark.parametrize(
    "change",
    [
        without_samples,
        lambda manifest: manifest.update(deviation=0.5),
        lambda manifest: manifest["parts"][0].update(requires={}),
        lambda manifest: manifest.pop("seal"),
        lambda manifest: manifest.update(seal=None),
        lambda manifest: manifest.update(stored=0),
        lambda manifest: manifest.update(name="other"),
    ],
)
def test_an_edited_manifest_is_refused(bundle: Path, change) -> None:
    change_manifest(bundle, change, seal=False)
    with raises(ArtifactError, "manifest.json'", "altered", hint="export"):
        open_bundle(bundle, check=False)


def test_a_bundle_before_schema_3_opens_and_says_that_its_manifest_has_no_digest(bundle: Path) -> None:
    change_manifest(bundle, before_schema_3, seal=False)
    (note,) = verify.verify(bundle).notes
    assert "no digest" in note
    code, output = run("inspect", bundle)
    assert code == 0 and "no digest" in output


@pytest.mark.parametrize("earlier", [True, False])
def test_vanished_samples_are_a_failure(bundle: Path, earlier: bool) -> None:
    if earlier:
        change_manifest(bundle, before_schema_3, seal=False)
    change_manifest(bundle, without_samples)
    with raises(ArtifactError, "samples", hint="export"):
        verify.verify(bundle)


def test_a_bundle_that_stores_no_samples_is_verified_with_data_alone(tmp_path: Path) -> None:
    with raises(UsageError, "stores no samples", hint="--data"):
        verify.verify(texts(tmp_path))


def test_outputs_that_were_not_compared_are_not_shown_as_numbers() -> None:
    quality = Quality(0, 4, math.nan, math.nan, math.nan, None, metric="accuracy", score=1.0)
    assert "not compared" in accuracy.differences(quality) and "nan" not in accuracy.differences(quality)


def test_samples_without_their_outputs_are_named(bundle: Path) -> None:
    def change(manifest: dict) -> None:
        manifest["files"] = [file for file in manifest["files"] if file["path"] != "samples/1-0.outputs.npz"]

    change_manifest(bundle, change)
    with raises(ArtifactError, "'samples/1-0.inputs.npz'", "outputs"):
        verify.verify(bundle)


@pytest.mark.parametrize("deviation", [0.5, 0.9, 0.99, 1.0, 1e308, -1.0, "nan", "inf"])
def test_weights_of_zero_never_pass(bundle: Path, tmp_path: Path, deviation: object) -> None:
    zero = pictures(tmp_path / "zero", zero=True)
    shutil.copyfile(zero / "model/model.onnx", bundle / "model/model.onnx")
    change_manifest(bundle, lambda manifest: manifest.update(deviation=deviation))
    relist(bundle)
    code, output = run("verify", bundle)
    assert code == (5 if deviation in (0.5, 0.9, 0.99) else 8), output


@pytest.mark.parametrize(
    ("requires", "fact"),
    [
        ({"cuda": ">=12"}, "'cuda'"),
        ({"arch": 64}, "'arch'"),
        ({"isa": "avx2"}, "'isa'"),
        ({"packages": ["numpy"]}, "'packages'"),
        ({"packages": {"numpy": 2}}, "'packages'"),
        ({"packages": {"": ">=1"}}, ">=1"),
        ({"packages": {"numpy": "at least 1"}}, "numpyat least 1"),
    ],
)
def test_a_requirement_that_is_not_understood_is_not_met(bundle: Path, requires: object, fact: str) -> None:
    change_manifest(bundle, lambda manifest: manifest["parts"][0].update(requires=requires))
    with raises(ArtifactError, fact):
        open_bundle(bundle)


def test_requirements_that_were_removed_are_not_met(bundle: Path) -> None:
    change_manifest(bundle, before_schema_3, seal=False)
    change_manifest(bundle, lambda manifest: manifest["parts"][0].update(requires={}))
    with raises(ArtifactError, "requires"):
        open_bundle(bundle)


def test_files_that_the_manifest_does_not_list_are_named(bundle: Path) -> None:
    (bundle / "notes.txt").write_text("mine")
    (bundle / "samples" / "._0-0.inputs.npz").write_text("a file manager's")
    (note,) = verify.verify(bundle).notes
    assert "notes.txt" in note and "samples/._0-0.inputs.npz" in note
    code, output = run("inspect", bundle)
    assert code == 0 and "notes.txt" in output


@pytest.mark.parametrize("name", ["model/weights.bin", "assets/labels.txt", "prepared/model.onnx"])
def test_a_file_that_a_runtime_or_a_task_could_read_must_be_listed(bundle: Path, name: str) -> None:
    (bundle / name).parent.mkdir(exist_ok=True)
    (bundle / name).write_text("added")
    with raises(ArtifactError, f"'{name}'", "not listed"):
        open_bundle(bundle)


def test_an_altered_report_is_not_compared_shown_or_kept_as_a_baseline(bundle: Path, kept: Path) -> None:
    file = bundle / "report.json"
    file.write_text(file.read_text().replace("bright", "blight"))
    for words in (
        ("compare", bundle, kept),
        ("compare", kept, file),
        ("compare", bundle, "--save-baseline", bundle.parent / "baseline.json"),
        ("inspect", file),
    ):
        code, output = run(*words)
        assert code == 8 and "'report.json'" in output, (words, output)
    assert run("inspect", bundle)[0] == 8
    shutil.copyfile(file, bundle.parent / "alone.json")
    assert report_of(bundle.parent / "alone.json").model == "blight.onnx", "a file of its own has no hash to hold it to"


@pytest.mark.parametrize("arrays", [{"pixel_values": np.zeros((2, 2))}, {"other": np.zeros((1, 3), np.float32)}, {}])
@pytest.mark.parametrize("which", ["inputs", "outputs"])
def test_samples_that_do_not_fit_the_model_are_the_bundles_fault(bundle: Path, arrays: dict, which: str) -> None:
    np.savez(bundle / f"samples/0-0.{which}.npz", **arrays)
    relist(bundle)
    with raises(ArtifactError, "stored sample", hint="export"):
        verify.verify(bundle)


def test_a_bundle_without_payload_files_is_refused(bundle: Path) -> None:
    change_manifest(bundle, lambda manifest: manifest["parts"][0].update(payload=[]))
    with raises(ArtifactError, "'model'"):
        open_bundle(bundle)


def test_options_that_a_backend_refuses_are_a_fault_of_the_bundle(tmp_path):
    path = pictures(tmp_path)
    change_manifest(path, lambda manifest: manifest["parts"][0]["options"].update(threads="many"))
    with raises(ArtifactError, "out'", "threads", hint="again"):
        verify.benchmark([path], seconds=0.05, sensors=False)
