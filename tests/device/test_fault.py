"""The errors of programs that died, and known faults by their versions."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from edgekit.device import fault
from tests.device.boards import board_host
from tests.wording import mentions

KILLS_ITSELF = "import os, signal; os.kill(os.getpid(), signal.{})"


@pytest.mark.parametrize("name", ["SIGILL", "SIGSEGV", "SIGKILL", "SIGABRT"])
def test_a_real_death_is_recognised_by_its_code(name):
    script = KILLS_ITSELF.format(name)
    child = subprocess.run([sys.executable, "-c", script])
    assert fault.died_of(child.returncode) == name
    shell = subprocess.run(["/bin/sh", "-c", '"$0" -c "$1"; exit $?', sys.executable, script], capture_output=True)
    assert shell.returncode == 128 + getattr(signal, name)
    assert fault.died_of(shell.returncode) == name


@pytest.mark.parametrize("code", [0, 1, 2, 9, 124, 127, 130, 143, 255])
def test_a_program_that_ended_by_itself_did_not_die(code):
    assert fault.died_of(code) is None


def test_a_known_fault_names_the_versions_that_work():
    error = fault.death("SIGILL", board_host(), {"onnxruntime": "1.21.0", "numpy": "2.4.6"}, "importing the runtime")
    assert error.exit_code == 7
    assert mentions(error.message, ("illegal instruction", "Cortex-A72", "onnxruntime 1.21.0", "dotprod"))
    assert mentions(error.message, "1.20.1")
    assert "--require 'onnxruntime==" in (error.hint or "")


def test_the_same_death_with_another_version_or_processor_names_no_known_fault():
    other = fault.death("SIGILL", board_host(), {"onnxruntime": "1.30.0"}, "verifying")
    assert mentions(other.message, ("illegal instruction", "Cortex-A72", "verifying", "onnxruntime 1.30.0"))
    newer = fault.death("SIGILL", board_host(("dotprod", "fp16", "neon"), "Cortex-A76"), {"onnxruntime": "1.21.0"}, "x")
    assert "1.20.1" not in newer.message


def test_a_kill_is_out_of_memory_only_where_the_kernel_reports_it():
    known = fault.death("SIGKILL", board_host(), {}, "measuring", out_of_memory=True)
    assert mentions(known.message, "memory", "3794 MB")
    unknown = fault.death("SIGKILL", board_host(), {}, "measuring")
    assert "memory" not in unknown.message.partition("(")[0]


def test_faulty_versions_are_excluded_on_the_processors_they_die_on():
    assert fault.exclusions("onnxruntime", board_host()) == ("!=1.21.0",)
    assert fault.exclusions("onnxruntime", board_host(("dotprod", "neon"))) == ()
    assert fault.exclusions("onnxruntime", board_host(arch="x86_64")) == ()
    assert fault.exclusions("numpy", board_host()) == ()
