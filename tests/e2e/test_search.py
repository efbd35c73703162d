"""A search, broken off and taken up again. For the smallest payload, which no noise can change."""

from __future__ import annotations

import os
import re
import signal
import subprocess

import pytest

from edgekit.result.report import Report
from tests.wording import mentions

from .conftest import COMMAND

ARGUMENTS = (
    "export", "digits", "--search", "4", "--objective", "size", "--no-bench", "--max-samples", "40",
    "--calibration-samples", "40", "--candidate", "onnxruntime/fp32", "--json", "--force",
)  # fmt: skip


def trials(stderr: str) -> list[str]:
    return re.findall(r"search: \d+ of 4, .*", stderr)


def told(report: Report) -> list[tuple[str, str, float | None]]:
    return [(c.name, c.status, c.size_mb) for c in report.candidates]


@pytest.fixture(scope="module")
def unbroken(command, place):
    return command(*ARGUMENTS, "-o", place / "out" / "searched", env={"EDGEKIT_CACHE_DIR": str(place / "whole")})


def test_the_best_of_a_search_competes_and_is_shipped(unbroken, place):
    shipped = unbroken.report.shipped
    assert "search" in shipped.name and "small" in shipped.reason
    fp32 = next(c for c in unbroken.report.candidates if c.recipe == "fp32")
    assert shipped.size_mb < fp32.size_mb and shipped.quality.ok
    assert any(mentions(note, "search") for note in shipped.notes)
    assert len(trials(unbroken.stderr)) == 4
    kept = (place / "out" / "searched" / "recipe.toml").read_text()
    assert mentions(kept, "search")


def test_a_search_that_was_killed_goes_on(unbroken, command, place):
    env = {"EDGEKIT_CACHE_DIR": str(place / "broken")}
    out = place / "out" / "broken"
    running = subprocess.Popen(
        [COMMAND, *ARGUMENTS, "-o", out], cwd=place, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **env},
    )  # fmt: skip
    seen = []
    for line in running.stderr:
        seen.append(line)
        if "search: 2 of 4" in line:
            running.send_signal(signal.SIGKILL)
            break
    running.stderr.close()
    assert running.wait() == -signal.SIGKILL, "".join(seen)
    assert not out.exists()
    finished = command(*ARGUMENTS, "-o", out, env=env)
    assert mentions(finished.stderr, ("search", "2 of 4 trials"))
    assert len(trials(finished.stderr)) == 2
    assert trials("".join(seen)) + trials(finished.stderr) == trials(unbroken.stderr)
    assert told(finished.report) == told(unbroken.report)
    again = command(*ARGUMENTS, "-o", out, env=env)
    assert not trials(again.stderr) and told(again.report) == told(unbroken.report)


def test_a_damaged_record_begins_anew(unbroken, command, place):
    (record,) = (place / "whole" / "partial").glob("search.*/study.db")
    record.write_bytes(b"garbage" * 1000)
    again = command(*ARGUMENTS, "-o", place / "out" / "anew", env={"EDGEKIT_CACHE_DIR": str(place / "whole")})
    assert mentions(again.stderr, ("note:", "search"))
    assert trials(again.stderr) == trials(unbroken.stderr)
    assert told(again.report) == told(unbroken.report)
