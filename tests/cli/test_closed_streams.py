"""Standard streams that are closed or full: no trace, and a full disk is 7."""

from __future__ import annotations

import subprocess
import sys

import pytest

EDGEKIT = f"{sys.executable} -m edgekit.cli"


def shell(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize("words", ["targets", "recipes --json", "--help"])
def test_a_full_stdout_is_a_full_disk(words):
    result = shell(f"{EDGEKIT} {words} > /dev/full")
    assert result.returncode == 7 and "Traceback" not in result.stderr and "disk is full" in result.stderr


@pytest.mark.parametrize("closing", [">&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_the_null_device(closing):
    result = shell(f"{EDGEKIT} targets {closing}")
    assert result.returncode == 0 and result.stderr == ""


@pytest.mark.parametrize("message", ["std::bad_alloc", "DefaultCPUAllocator: can't allocate memory: you tried 9 GB"])
def test_memory_that_a_runtime_does_not_get_is_named(message):
    from edgekit.cli.failure import translate
    from edgekit.errors import ArtifactError, BuildError, DeviceError

    assert isinstance(translate(RuntimeError(message)), DeviceError)
    for kind in (BuildError, ArtifactError):
        try:
            try:
                raise RuntimeError(message)
            except RuntimeError as cause:
                raise kind("the part does not open.") from cause
        except kind as error:
            assert isinstance(translate(error), DeviceError)
    assert isinstance(translate(BuildError("the pass failed.")), BuildError)
