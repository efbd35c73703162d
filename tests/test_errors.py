"""The exception tree: exit codes, what `--json` prints, and the nearest names."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import pytest

from edgekit import errors
from edgekit.errors import EdgekitError, UnsupportedError, UsageError, nearest
from tests.wording import mentions

CODES = {
    "UsageError": 2,
    "EnvironmentFault": 3,
    "UnsupportedError": 4,
    "AccuracyFailure": 5,
    "PerformanceFailure": 6,
    "DeviceError": 7,
    "ArtifactError": 8,
    "BuildError": 9,
}


def test_each_fault_has_its_own_exit_code() -> None:
    codes = {
        kind.__name__: kind.exit_code for kind in EdgekitError.__subclasses__() if kind.__module__ == "edgekit.errors"
    }
    assert codes == CODES
    assert EdgekitError.exit_code == 1


def test_the_drawing_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"[├└]── (\w+)\s+(\d)", errors.__doc__ or "")
    assert {name: int(code) for name, code in drawn} == CODES


def test_message_hint_and_context() -> None:
    error = UsageError(
        "no such file.", hint="ls", path=Path("a/b"), count=3, share=0.5, names=("x", Path("y")), none=None
    )
    assert str(error) == error.message == "no such file."
    text = json.dumps(error.to_dict())
    assert json.loads(text) == {
        "error": "UsageError",
        "exit_code": 2,
        "message": "no such file.",
        "hint": "ls",
        "context": {"path": "a/b", "count": 3, "share": 0.5, "names": ["x", "y"], "none": None},
    }


def test_every_problem_is_shown_and_kept() -> None:
    error = UnsupportedError("it cannot run:", problems=(f"reason {n}" for n in (1, 2)), hint="try fp32")
    assert str(error) == "it cannot run:\n  - reason 1\n  - reason 2"
    assert error.to_dict()["problems"] == ["reason 1", "reason 2"]
    assert str(UnsupportedError("plain.")) == "plain."


def test_a_long_list_of_problems_is_shortened_in_the_message_alone() -> None:
    problems = tuple(f"backend{n}/recipe: {'a reason that fills a line, and another one ' * 9}" for n in range(12))
    error = UnsupportedError("nothing can be built for 'jetson'.", problems=problems, hint="try fp32")
    lines = error.message.splitlines()
    assert len(error.message) < 600 and len(lines) == 5
    assert all(line.startswith(f"  - backend{n}/recipe: ") for n, line in enumerate(lines[1:4]))
    assert mentions(lines[4], "9 more", "--json")
    assert error.to_dict()["problems"] == list(problems)
    assert EdgekitError.from_dict(error.to_dict()).to_dict() == error.to_dict()


def test_the_room_of_few_problems_is_theirs() -> None:
    text = "a reason " * 40
    assert str(UnsupportedError("it cannot run:", problems=[text])) == f"it cannot run:\n  - {text.strip()}"


@pytest.mark.parametrize("name", sorted(CODES))
def test_faults_cross_process_borders_whole(name: str) -> None:
    extra = {"problems": ("one",)} if name == "UnsupportedError" else {}
    error = getattr(errors, name)("what happened", hint="what to do", step="export", **extra)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert again.to_dict() == error.to_dict()
    assert str(again) == str(error)


@pytest.mark.parametrize(
    ("word", "known", "said"),
    [
        ("jetsn", ("jetson", "host"), " Did you mean 'jetson'?"),
        ("int8", ("int8-static", "int8-dynamic", "fp32"), " Did you mean 'int8-static' or 'int8-dynamic'?"),
        ("zzz", ("jetson",), ""),
        ("x", (), ""),
    ],
)
def test_nearest(word: str, known: tuple[str, ...], said: str) -> None:
    assert nearest(word, known) == said


def test_nearest_does_not_depend_on_order() -> None:
    assert nearest("fp1", ["fp16", "fp32"]) == nearest("fp1", ["fp32", "fp16"])


@pytest.mark.parametrize(
    "error",
    [
        UsageError("no such file.", hint="ls", path="a/b", names=["x", "y"]),
        UnsupportedError("it cannot run:", problems=("reason 1", "reason 2"), hint="try fp32", target="t"),
        EdgekitError("a fault."),
    ],
)
def test_an_error_comes_back_from_its_json(error: EdgekitError) -> None:
    back = EdgekitError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(back) is type(error)
    assert (str(back), back.to_dict()) == (str(error), error.to_dict())


def test_an_error_of_an_unknown_class_is_an_edgekit_error() -> None:
    back = EdgekitError.from_dict({"error": "Bug", "message": "KeyError: 'x'"})
    assert type(back) is EdgekitError
    assert (back.message, back.hint) == ("KeyError: 'x'", None)
