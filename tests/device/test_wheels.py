"""Wheels for a device: resolved against the real index for its Python, processor and C library, or refused."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.device.environment import wheels
from edgekit.errors import EnvironmentFault, UnsupportedError, UsageError
from tests.device.boards import board_host, python
from tests.wording import mentions, raises

CORE = {"click", "filelock", "numpy", "packaging"}
"""What edgekit itself needs."""


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        yield


def wheel_of(requirement: str, interpreter) -> str | None:
    """Return the wheel that pip would choose, without downloading it; skip without a network."""
    try:
        wheels._pip("install", ["--help"], interpreter)
        return wheels._wheel_of(requirement, interpreter)
    except EnvironmentFault as error:
        pytest.skip(error.message)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "version", "glibc", "wheel"),
    [
        ("onnxruntime==1.32.0", "3.11.2", "2.36", "onnxruntime-1.32.0-cp311-cp311-manylinux_2_28_aarch64.whl"),
        (
            "onnxruntime>=1.20,<1.24",
            "3.10.12",
            "2.35",
            "onnxruntime-1.23.2-cp310-cp310-manylinux_2_27_aarch64.manylinux_2_28_aarch64.whl",
        ),
        ("onnxruntime==1.32.0", "3.10.12", "2.35", None),
        ("openvino==2026.4.1", "3.11.2", "2.31", None),
    ],
)
def test_the_wheel_of_the_index(line, version, glibc, wheel):
    assert wheel_of(line, python(version, libc=f"glibc {glibc}")) == wheel


def test_what_is_installed_is_cached_for_the_same_requirements():
    wanted = {"click": [">=8.1"]}
    try:
        first = wheels.install(wanted, python())
    except EnvironmentFault as error:
        pytest.skip(error.message)
    assert [path.name.rsplit("-", 1)[0] for path in first] == ["click"]
    written = first[0].stat().st_mtime_ns
    assert wheels.install(wanted, python()) == first
    assert first[0].stat().st_mtime_ns == written


@pytest.mark.slow
def test_a_c_library_that_is_too_old_is_an_error_with_what_helps():
    missing = wheels.NoWheel("openvino>=2026.0", ["2024.6.0", "2025.2.0"])
    error = wheels.no_wheel_error(missing, python(libc="glibc 2.31"))
    if not mentions(error.problems[0], "glibc 2.35"):
        wheel_of("click", python())  # skips where no index can be reached
    assert mentions(error.message, "wheel", ("Python 3.11.2", "aarch64", "glibc 2.31"))
    assert mentions(error.message, "2025.2.0")
    newer, older = error.problems
    assert mentions(newer, "glibc 2.35", "Ubuntu 22.04") and mentions(older, "--require 'openvino==2025.2.0'")


@pytest.mark.parametrize(
    ("interpreter", "words"),
    [
        (python(arch="armv7l", bits=32), ["armv7l", "32-bit", "Cortex-A53", "64-bit"]),
        (python(bits=32), ["32-bit", "kernel", "64-bit"]),
        (python(libc="musl"), ("musl", "glibc")),
        (python("3.9.2"), ("3.9.2", "Python 3.10", "--python PATH")),
    ],
)
def test_pythons_without_wheels_are_refused_at_once(interpreter, words):
    with raises(UnsupportedError, words):
        wheels.check(interpreter)


def test_a_standard_library_with_holes_is_refused():
    with raises(UnsupportedError, "ctypes, json", "python3-minimal"):
        wheels.check(replace(python(), missing=("ctypes", "json")))


def test_the_light_core_one_plugin_and_its_runtime(text_bundle):
    bare = replace(text_bundle, path=text_bundle.path / "samples")  # a bundle without a task's assets
    wanted = wheels.requirements(bare, "edgekit-onnxruntime", python(), board_host(("dotprod", "neon")))
    assert set(wanted) == {*CORE, "onnxruntime"}
    assert ">=8.1" in wanted["click"]


def test_python_3_10_gets_tomli(text_bundle):
    assert "tomli" in wheels.requirements(text_bundle, "edgekit-onnxruntime", python("3.10.12"), board_host())


def test_a_task_brings_what_reads_its_inputs(picture_bundle, text_bundle):
    of_pictures = wheels.requirements(picture_bundle, "edgekit-onnxruntime", python(), board_host())
    of_texts = wheels.requirements(text_bundle, "edgekit-onnxruntime", python(), board_host())
    assert set(of_pictures) == {*CORE, "onnxruntime", "pillow"}
    assert set(of_texts) == {*CORE, "onnxruntime", "tokenizers"}


def test_a_known_fault_is_excluded_unless_it_is_pinned(text_bundle):
    wanted = wheels.requirements(text_bundle, "edgekit-onnxruntime", python(), board_host())
    assert "!=1.21.0" in wanted["onnxruntime"]
    pinned = wheels.requirements(text_bundle, "edgekit-onnxruntime", python(), board_host(), ["onnxruntime==1.21.0"])
    assert pinned["onnxruntime"] == ["==1.21.0"]


def test_an_unreadable_requirement_is_refused(text_bundle):
    with raises(UsageError, "'==1'", hint="onnxruntime==1.20.1"):
        wheels.requirements(text_bundle, "edgekit-onnxruntime", python(), board_host(), ["==1"])
