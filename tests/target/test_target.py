"""Target files: the built-in ones, the ones that users add, and what is refused."""

from __future__ import annotations

import itertools
import re
from dataclasses import fields
from pathlib import Path

import pytest

from edgekit import catalog, registry
from edgekit.errors import UsageError
from edgekit.spec import ShapeRange
from edgekit.target import host, target
from edgekit.target.target import Device, Limits, Target
from tests.target.files import BUILTIN, write
from tests.wording import raises

ROOT = Path(__file__).parent.parent.parent


# The built-ins


def test_every_built_in_is_there(elsewhere: Path) -> None:
    assert set(target.available()) == BUILTIN


@pytest.mark.parametrize("name", sorted(BUILTIN))
def test_built_in_is_complete(name: str, elsewhere: Path) -> None:
    loaded = target.load(name)
    assert loaded.name == name
    assert loaded.summary and loaded.backends and loaded.precisions
    assert set(loaded.backends) <= set(registry.KNOWN_PLUGINS)
    assert set(loaded.candidates) == set(loaded.backends)
    for names in loaded.candidates.values():
        assert names and set(names) <= set(catalog.recipes())
    assert loaded.shapes["batch"] == 1
    ranged = {"sequence": ShapeRange(1, 128, 512)} if "tensorrt" in loaded.backends else {}
    assert loaded.shapes == {"batch": 1, **ranged}, "TensorRT builds for ranges, so text needs one"
    assert Target.from_dict(loaded.to_dict()) == loaded


@pytest.mark.parametrize("name", sorted(BUILTIN - {"host"}))
def test_every_fact_of_a_built_in_has_its_source(name: str, elsewhere: Path) -> None:
    loaded = target.load(name)
    known = {item.name for item in fields(Device) if getattr(loaded.device, item.name) not in (None, (), {})}
    assert {*known, "precisions"} <= set(loaded.evidence)
    if loaded.static_shapes_only:
        assert loaded.evidence["static_shapes_only"]


@pytest.mark.parametrize("name", sorted(BUILTIN - {"host"}))
def test_candidates_of_a_built_in_are_within_its_precisions(name: str, elsewhere: Path) -> None:
    loaded = target.load(name)
    for names in loaded.candidates.values():
        for each in names:
            asked = catalog.recipe(each).precision.replace("-dynamic", "").split("+")
            assert set(asked) <= {*loaded.precisions, "f32"}


def test_facts_that_decide_are_as_documented(elsewhere: Path) -> None:
    assert target.load("raspberry-pi-4").candidates["onnxruntime"][0] == "fp32"
    assert "dotprod" not in target.load("raspberry-pi-4").device.isa
    assert target.load("jetson-orin-nano").device.sm == "8.7"
    assert target.load("jetson-thor").candidates["tensorrt"][0] == "fp16"
    assert target.load("intel-core-ultra").static_shapes_only
    assert target.load("jetson-nano").precisions == ("f32", "f16")
    assert not {"f8", "f4"} & set(target.load("jetson-orin-nano").precisions)


def test_an_nvidia_gpu_takes_its_compute_capability(elsewhere: Path) -> None:
    plain, ada, turing = (catalog.target(name) for name in ("nvidia-gpu", "nvidia-gpu:8.9", "nvidia-gpu:7.5"))
    assert (plain.device.sm, ada.device.sm, ada.name) == (None, "8.9", "nvidia-gpu:8.9")
    assert {"f8", "bf16", "i4"} <= set(ada.precisions) and not {"f8", "bf16", "i4"} & set(turing.precisions)
    assert "fp8" in ada.candidates["tensorrt"] and "fp8" not in turing.candidates["tensorrt"]
    assert "f4" in catalog.target("nvidia-rtx:12.0").precisions
    assert catalog.target("nvidia-rtx:8.6").options == {"tensorrt": {"runtime": "rtx"}}
    assert Target.from_dict(ada.to_dict()) == ada


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("nvidia-gpu:8.8", "'8.8'", "known: 7.5, 8.0, 8.6"),
        ("nvidia-gpu:", "''", "nvidia-gpu:8.9"),
        ("jetson:8.9", ("'jetson'", "8.7"), "--target jetson"),
        ("raspberry-pi-5:8.9", ("onnxruntime, openvino", "':8.9'"), "--target raspberry-pi-5"),
        ("nvidia-gpo:8.9", ("'nvidia-gpo'", "'nvidia-gpu'"), "edgekit targets"),
    ],
)
def test_a_compute_capability_that_cannot_be(elsewhere: Path, name: str, message: str, hint: str) -> None:
    with raises(UsageError, message) as caught:
        catalog.target(name)
    assert hint in (caught.value.hint or "")


def test_narrower_targets_inherit_what_they_do_not_set(elsewhere: Path) -> None:
    common, nano = target.load("jetson"), target.load("jetson-orin-nano")
    assert nano.backends == common.backends
    assert nano.device.isa == common.device.isa
    assert nano.device.cores == 6 and common.device.cores is None
    assert nano.evidence["isa"] == common.evidence["isa"]


def test_host_is_this_machine(elsewhere: Path) -> None:
    here, loaded = host.probe(), target.load("host")
    assert (loaded.device.arch, loaded.device.isa, loaded.device.cores) == (here.arch, here.isa, here.cores)
    assert loaded.mismatches(here) == ()
    assert {"f32", "i8"} <= set(loaded.precisions)
    assert ("bf16" in loaded.precisions) == bool({"bf16", "avx512_bf16", "amx_bf16"} & set(here.isa))


def test_readme_explains_every_key() -> None:
    text = (ROOT / "targets" / "README.md").read_text()
    explained = set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))
    assert explained == {"extends"} | {item.name for kind in (Target, Device, Limits) for item in fields(kind)}
    for word in (*target.PRECISIONS, *host.ISA_FLAGS.values(), *host.PCI_ACCELERATORS.values()):
        assert word in text


def test_readme_example_is_read(elsewhere: Path) -> None:
    text = (ROOT / "targets" / "README.md").read_text()
    example = re.search(r"```toml\n(.*?)```", text, re.DOTALL)
    assert example
    write(elsewhere / "targets", "raspberry-pi-5", example[1])
    loaded = target.load("raspberry-pi-5")
    assert loaded.limits.latency_ms == 50.0
    assert loaded.device.cores == 4


# extends


def test_a_file_may_extend_the_one_it_shadows(elsewhere: Path) -> None:
    write(elsewhere / "targets", "jetson", 'extends = "jetson"\n[limits]\nlatency_ms = 9.0\n')
    loaded = target.load("jetson")
    assert loaded.limits.latency_ms == 9.0
    assert loaded.summary.startswith("NVIDIA Jetson Orin")
    assert target.load("jetson-orin-nano").limits.latency_ms is None, "a built-in rests on built-ins"


def test_a_shadow_may_extend_a_built_in_that_extends_the_shadowed(elsewhere: Path) -> None:
    write(elsewhere / "targets", "jetson", 'extends = "jetson-orin-nano"\nsummary = "ours"\n')
    assert target.load("jetson").device.cores == 6


def test_extends_uses_a_file_in_the_same_folder(elsewhere: Path) -> None:
    write(elsewhere / "boards", "base", 'summary = "base"\nbackends = ["onnxruntime"]\n[device]\ncores = 3\n')
    path = write(elsewhere / "boards", "mine", 'extends = "./base.toml"\nsummary = "mine"\n')
    assert target.load(str(path)).device.cores == 3
    assert target.load("boards/mine.toml").device.cores == 3


def test_extends_merges_tables_and_replaces_lists(elsewhere: Path) -> None:
    write(
        elsewhere / "targets",
        "mine",
        'extends = "raspberry-pi-5"\nsummary = "mine"\nbackends = ["onnxruntime"]\nnotes = []\n'
        "shapes = { batch = { min = 1, opt = 2, max = 4 }, height = 320 }\n[device]\nmemory_mb = 16384\n",
    )
    loaded = target.load("mine")
    assert loaded.shapes == {"batch": ShapeRange(1, 2, 4), "height": 320}
    assert loaded.device.memory_mb == 16384 and loaded.device.cores == 4
    assert loaded.notes == ()
    assert set(loaded.candidates) == {"onnxruntime"}, "what is said of a dropped backend goes with it"


def test_what_extends_host_is_probed_too(elsewhere: Path) -> None:
    write(elsewhere / "targets", "ours", 'extends = "host"\nsummary = "ours"\n[limits]\nsize_mb = 5\n')
    loaded, here = target.load("ours"), host.probe()
    assert loaded.device.isa == here.isa
    assert loaded.limits.size_mb == 5.0


@pytest.mark.parametrize("chain", [["a", "a"], ["a", "b", "a"], ["a", "b", "c", "b"]])
def test_circles_are_refused(elsewhere: Path, chain: list[str]) -> None:
    for name, parent in itertools.pairwise(chain):
        write(elsewhere, name, f'extends = "./{parent}.toml"\nsummary = "s"\n')
    with raises(UsageError, "'extends'", " -> ".join(f"{name}.toml" for name in chain)):
        target.load("./a.toml")


def test_extending_oneself_without_another_is_unknown(elsewhere: Path) -> None:
    write(elsewhere / "targets", "lonely", 'extends = "lonely"\nsummary = "s"\n')
    with raises(UsageError, "lonely.toml", "extends", "'lonely'"):
        target.load("lonely")


# What is refused


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('summary = "s"\nbackend = ["onnxruntime"]', ("'backend'", "'backends'")),
        ('summary = "s"\n[device]\nmemory = 1', ("device", "'memory'", "'memory_mb'")),
        ('summary = "s"\n[limits]\nlatency = 1', ("limits", "'latency'", "'latency_ms'")),
        ('summary = "s"\nprecisions = ["fp16"]', ("precisions", "'fp16'", "'f16'")),
        ('summary = "s"\n[device]\nisa = ["dotprd"]', ("isa", "'dotprd'", "'dotprod'")),
        (
            'summary = "s"\nbackends = ["onnxruntime"]\n[candidates]\nonnxruntim = ["fp32"]',
            ("candidates", "'onnxruntim'", "'onnxruntime'"),
        ),
        ('summary = "s"\n[evidence]\nmemry_mb = "x"', ("evidence", "'memry_mb'", "'memory_mb'")),
        ('summary = "s"\nextends = "jetsn"', ("extends", "'jetsn'", "'jetson'")),
        ('summary = "s"\nextends = 3', ("extends", "3")),
        ("backends = []", "'summary'"),
        ('extends = "jetson"', "'summary'"),
        ('summary = "s"\nname = "other"', ("'other'", "'bad.toml'")),
        ('summary = "s"\n[device]\ncores = "four"', ("device", "cores", "'four'")),
        ('summary = "s"\n[shapes]\nbatch = { min = 4, opt = 2, max = 8 }', ("shapes.batch", "4, 2, 8")),
        ('summary = "s"\n[shapes]\nbatch = { min = 1, max = 8 }', ("shapes.batch", "'opt'")),
        ('summary = "s', "TOML"),
    ],
)
def test_faults_in_a_file_are_named(elsewhere: Path, text: str, message: str) -> None:
    path = write(elsewhere, "bad", text)
    with raises(UsageError, message) as caught:
        target.load(str(path))
    assert "bad.toml" in caught.value.message


def test_file_that_cannot_be_read(elsewhere: Path) -> None:
    (elsewhere / "folder.toml").mkdir()
    (elsewhere / "latin.toml").write_bytes(b'summary = "\xe9"')
    for name, message in (
        ("./none.toml", ("none.toml", "No such file")),
        ("./folder.toml", ("folder.toml", "directory")),
        ("./latin.toml", ("latin.toml", "TOML")),
    ):
        with raises(UsageError, message):
            target.load(name)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[device]\narch = "x86"', ("arch", "'x86'", "'x86_64'")),
        ("[device]\ncores = -3", "cores = -3"),
        ("[limits]\nlatency_ms = 0.0", "latency_ms = 0.0"),
        ("[limits]\nsize_mb = nan", "size_mb = nan"),
    ],
)
def test_facts_that_cannot_be_are_refused(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.toml").write_text(f'summary = "odd"\n{text}\n')
    with raises(UsageError, message):
        target.load(str(tmp_path / "odd.toml"))
