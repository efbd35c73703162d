"""edgekit.toml: what is read, what overrides what, and the error for a bad key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from edgekit import project, project_template
from edgekit.errors import UsageError
from edgekit.project import Project
from tests.wording import raises


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_without_a_file_the_defaults_hold(here):
    assert project.load() == Project()


def test_the_file_in_the_folder_is_found(here):
    (here / "edgekit.toml").write_text('model = "m"\nmax_drop = 0.02\n')
    assert project.load().max_drop == 0.02


def test_pyproject_is_found_where_there_is_no_own_file(here):
    (here / "pyproject.toml").write_text('[tool.edgekit]\nmodel = "from-pyproject"\n')
    assert project.load().model == "from-pyproject"
    (here / "edgekit.toml").write_text('model = "own"\n')
    assert project.load().model == "own"


def test_options_override_the_target_which_overrides_the_file(here):
    (here / "edgekit.toml").write_text(
        'model = "m"\nmax_drop = 0.01\nrecipe = "fp32"\n[targets.jetson]\nmax_drop = 0.02\nrecipe = "fp16"\n'
    )
    assert project.load().max_drop == 0.01
    chosen = project.load(overrides={"target": "jetson", "recipe": "int8-static", "max_size_mb": None})
    assert (chosen.target, chosen.max_drop, chosen.recipe) == ("jetson", 0.02, "int8-static")


def test_paths_are_taken_from_the_files_folder(here):
    (here / "sub").mkdir()
    (here / "sub" / "val").mkdir()
    file = here / "sub" / "edgekit.toml"
    file.write_text('model = "./ckpt"\ndata = "val"\nrecipe = "int8-static"\noutput = "out"\n')
    loaded = project.load(Path("sub/edgekit.toml"))
    assert (loaded.model, loaded.data, loaded.recipe, loaded.output) == (
        "sub/ckpt",
        "sub/val",
        "int8-static",
        "sub/out",
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("modle = 'x'", ("'modle'", "'model'")),
        ("max_drop = 2.0", ("max_drop = 2", "0", "1")),
        ('prune = 1.0\ntrain = "t"', ("prune = 1", "0", "1")),
        ("max_drop = 'much'", ("max_drop", "'much'")),
        ("max_samples = 0", "max_samples = 0"),
        ("shapes = { batch = 0 }", "batch=0"),
        ("shapes = { batch = 'free' }", "batch=free"),
        ("model = ", "TOML"),
        ("[targets.host]\nmodl = 1", ("[targets.host]", "'modl'")),
    ],
)
def test_the_fault_of_a_bad_file_is_reported(here, text, message):
    (here / "edgekit.toml").write_text(text)
    with raises(UsageError, message, re.compile(r"edgekit\.toml|\[targets")):
        project.load()


def test_the_error_for_a_missing_file_gives_the_next_command(here):
    with pytest.raises(UsageError) as caught:
        project.load(Path("no.toml"))
    assert "edgekit init" in (caught.value.hint or "")


def test_the_template_is_a_valid_project(here):
    project_template.write_template(Path("edgekit.toml"))
    loaded = project.load()
    assert (loaded.model, loaded.data, loaded.max_drop) == ("./my-checkpoint", "./val", 0.01)
    with raises(UsageError, "'edgekit.toml'", "exists"):
        project_template.write_template(Path("edgekit.toml"))


def test_a_project_survives_its_toml(here):
    written = Project(
        model='we"ird\\name',
        data="val",
        text_columns=("a", "b"),
        max_drop=0.005,
        candidates=("onnxruntime/fp32",),
        shapes={"batch": 1, "sequence.length": "dynamic"},
        offline=True,
    )
    (here / "edgekit.toml").write_text(project.to_toml(written, {"target": "two\nlines"}))
    assert project.load(Path("edgekit.toml")) == written


def test_a_latency_budget_needs_a_measurement(here):
    with raises(UsageError, "max_latency_ms = 5", hint="--no-bench"):
        Project(max_latency_ms=5, bench=False)
    for bad in (float("nan"), -1.0):
        with raises(UsageError, f"max_drop = {bad:g}"):
            Project(max_drop=bad)


@pytest.mark.parametrize(
    ("text", "drop"), [('"1%"', 0.01), ('"0.5 pt"', 0.005), ('"2 points"', 0.02), ('"0.03"', 0.03), ("0.04", 0.04),
                       ('"100%"', 1.0), ("0", 0.0)],
)  # fmt: skip
def test_a_drop_is_written_in_points_or_as_a_share(here, text, drop):
    (here / "edgekit.toml").write_text(f'model = "m"\nmax_drop = {text}\n')
    loaded = project.load()
    assert loaded.allowed_drop == pytest.approx(drop)
    (here / "again.toml").write_text(project.to_toml(loaded))
    assert project.load(here / "again.toml").allowed_drop == loaded.allowed_drop


@pytest.mark.parametrize(
    ("value", "facts", "hint"),
    [
        (1, ("1 point", "1%", "100 points"), ("1%", "100%")),
        (0.5, ("0.5 points", "0.5%", "50 points"), ("0.5%", "50%")),
        ("1", ("1 point", "100 points"), "1%"),
        (3.0, ("max_drop = 3", "3%"), "1%"),
        ("250%", ("250%",), "1%"),
        ("1 apple", ("'1 apple'",), "1%"),
    ],
)
def test_a_drop_that_can_be_read_in_two_ways_is_refused(value, facts, hint):
    with raises(UsageError, *facts, hint=hint):
        Project(max_drop=value)


def test_paths_that_are_there_become_absolute(here):
    (here / "val").mkdir()
    absolute = Project(model="digits", data="val", recipe="int8-static", output="out/x").absolute()
    assert (absolute.model, absolute.recipe) == ("digits", "int8-static")
    assert (absolute.data, absolute.output) == (str(here / "val"), str(here / "out" / "x"))


@pytest.mark.parametrize("name", ["model", "data", "output"])
def test_names_that_are_not_utf8_are_refused_before_anything_is_built(name):
    with raises(UsageError, (name, "UTF-8"), hint="ln -s"):
        Project(**{"model": "digits", name: "out\udcff\udcfe"})
