"""The framework of the command line: lazy verbs, help, failures and their exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import click
import pytest

from edgekit.cli import FAMILIES, VERBS, cli, failure, interruption
from edgekit.cli.group import EXIT_CODES
from edgekit.errors import AccuracyFailure, BuildError, DeviceError, EdgekitError, UsageError
from tests.wording import mentions

SUBCLASSES = EdgekitError.__subclasses__()


def command(name: str) -> click.Command:
    subcommand = cli.get_command(click.Context(cli), name)
    assert subcommand is not None
    return subcommand


def test_every_verb_is_in_one_family():
    assert sorted(name for names in FAMILIES.values() for name in names) == sorted(VERBS)


@pytest.mark.parametrize("name", VERBS)
def test_the_table_has_the_summary_of_the_verb(name):
    assert command(name).help == VERBS[name][1]
    assert command(name).name == name


@pytest.mark.parametrize("name", VERBS)
def test_help_is_a_manual(name, run):
    result = run(name, "--help")
    assert result.exit_code == 0
    for heading in ("DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT CODES"):
        assert heading in result.output
    assert all(example.command.partition("edgekit ")[2] for example in command(name).examples)


@pytest.mark.parametrize("name", VERBS)
def test_every_option_has_help_with_its_default(name):
    for param in command(name).params:
        if isinstance(param, click.Option):
            assert param.help and "[default: " in param.help, param.name


@pytest.mark.parametrize("name", VERBS)
def test_examples_name_options_that_exist(name):
    for example in command(name).examples:
        line = example.command.split("|")[-1]
        verb, *words = line[line.index("edgekit ") :].split()[1:]
        known = {option for param in command(verb).params for option in (*param.opts, *param.secondary_opts)}
        assert [word for word in words if word.startswith("--") and word not in known] == []


def test_every_exit_code_is_listed():
    assert {kind.exit_code for kind in SUBCLASSES} <= set(EXIT_CODES)


def test_help_loads_neither_numpy_nor_rich():
    code = "import sys; sys.argv = ['edgekit', '--help']\nfrom edgekit.cli import main\ntry: main()\nfinally: " + (
        "print(*(n for n in ('numpy', 'rich', 'importlib.metadata') if n in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == ""
    assert "export" in done.stdout


def test_without_a_verb_the_help_is_shown(run):
    assert run().output == run("--help").output


def test_version(run):
    from importlib.metadata import version

    assert run("--version").output == f"edgekit {version('edgekit')}\n"


@pytest.mark.parametrize(
    ("args", "fact"),
    [
        (("exprot",), ("'exprot'", "'export'")),
        (("quantize", "digits"), ("'quantize'", "'export'", "hint: one of")),
        (("export", "--modle", "x"), ("'--modle'", "'--model'", "hint: --model REF")),
        (("export", "--quantize", "int8"), ("'--quantize'", "hint: here it is --recipe int8-static")),
        (("export", "--format", "onnx"), ("'--format'", "hint: here it is --backend")),
        (("export", "--zzz"), ("'--zzz'", "hint: for example: edgekit export digits")),
        (("run",), ("'BUNDLE'", "hint: for example: edgekit run out/digits")),
        (("export", "--max-samples", "lots"), ("'--max-samples'", "'lots'", "hint: --max-samples N")),
        (("cache", "shred"), ("'shred'", "'clear'")),
        (("init", "a", "b"), ("argument", "hint: for example: edgekit init")),
    ],
)
def test_usage_errors_are_ours(args, fact, run):
    result = run(*args)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert mentions(result.stderr, fact, re.compile(r"^hint: ", re.MULTILINE))
    assert "--help" not in result.stderr
    assert result.stdout == ""


def test_usage_errors_as_json(run):
    result = run("targets", "--jsno", "--json")
    facts = json.loads(result.stdout)
    assert (result.exit_code, facts["exit_code"], facts["error"]) == (2, 2, "UsageError")
    assert "'--json'" in facts["message"]


@pytest.fixture
def failing(monkeypatch, run):
    """Return a run of `edgekit targets` in which the listing raises."""

    def start(error: BaseException, *args: str):
        def raise_it(*_: object) -> None:
            raise error

        monkeypatch.setattr("edgekit.target.target.available", raise_it)
        return run("targets", *args)

    return start


@pytest.mark.parametrize("kind", SUBCLASSES)
def test_our_errors_become_words_and_codes(kind, failing):
    result = failing(kind("it broke.", hint="mend it", place="here"), "--json")
    assert result.exit_code == kind.exit_code
    assert result.stderr == "error: it broke.\nhint: mend it\n"
    facts = json.loads(result.stdout)
    assert facts.pop("problems", []) == []
    assert facts == {
        "error": kind.__name__,
        "exit_code": kind.exit_code,
        "message": "it broke.",
        "hint": "mend it",
        "context": {"place": "here"},
    }


@pytest.mark.parametrize(
    ("error", "code", "fact"),
    [
        (MemoryError(), 7, "memory"),
        (OSError(28, "No space left on device", "/full/disk"), 7, ["disk", "'/full/disk'"]),
        (OSError(30, "Read-only file system", "/cd/rom"), 2, ["'/cd/rom'", "read-only"]),
        (PermissionError(13, "Permission denied", "/secret"), 2, ["permission", "'/secret'"]),
        (KeyboardInterrupt(), 130, "interrupted"),
        (interruption.Terminated(), 143, "interrupted"),
    ],
)
def test_errors_of_the_system_become_messages(error, code, fact, failing):
    result = failing(error)
    assert result.exit_code == code
    assert mentions(result.stderr, fact)
    assert "Traceback" not in result.stderr


def test_a_bug_shows_its_trace(failing):
    result = failing(ZeroDivisionError("in the depths"), "--json")
    assert result.exit_code == 1
    assert "Traceback" in result.stderr
    assert mentions(result.stderr, "bug", "ZeroDivisionError: in the depths")
    assert json.loads(result.stdout)["error"] == "Bug"


def test_a_full_disk_below_a_failed_build_is_the_cause():
    build = BuildError("the compiler failed.")
    build.__cause__ = RuntimeError("cannot write")
    build.__cause__.__cause__ = OSError(28, "No space left on device")
    assert isinstance(failure.translate(build), DeviceError)
    assert failure.translate(BuildError("alone")).exit_code == 9


def test_a_failed_gate_brings_its_report_along(failing, report, tmp_path):
    report.save(tmp_path / "out.report.json")
    result = failing(AccuracyFailure("too much was lost.", report=tmp_path / "out.report.json"), "--json")
    assert result.exit_code == 5
    assert json.loads(result.stdout)["report"] == json.loads((tmp_path / "out.report.json").read_text())


def test_no_color_is_honoured(shell):
    assert "\x1b[" not in shell("exprot", env={"NO_COLOR": "1", "FORCE_COLOR": "1"}).stderr


def test_a_closed_pipe_is_not_a_fault():
    code = f"{sys.executable} -m edgekit.cli export --help | head -c 10"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {code}"], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("Usage: edg", "")
    assert done.returncode in (0, 141)


def test_usage_error_of_ours_keeps_its_hint():
    assert failure.translate(UsageError("a", hint="b")).hint == "b"
