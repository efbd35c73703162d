"""Mutated bundles, drawn by a seed: none ends in a trace or hangs, and none that was altered is accepted."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

import pytest

from tests.fuzz import bundles


def test_a_bundle_that_was_not_mutated_is_accepted(tmp_path: Path) -> None:
    whole = shutil.copytree(bundles.whole(tmp_path), tmp_path / "case")
    for use in (bundles.verified, bundles.answered, bundles.shown, bundles.compared, bundles.recipe_read):
        assert use(whole), use.__name__


@pytest.mark.parametrize("count", [60, pytest.param(3000, marks=pytest.mark.nightly)])
def test_mutated_bundles(count: int, tmp_path: Path) -> None:
    faults = [
        f"{case.name}: {fault}"
        for case in islice(bundles.cases(count, tmp_path), count)
        for fault in bundles.judge(case)
    ]
    assert not faults, "\n".join(faults)


def test_an_accepted_alteration_and_a_trace_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The judgement itself: it would see what it is there to see."""
    (case,) = islice(bundles.cases(0, tmp_path), 1)
    altered = bundles.Case(case.name, bundles.whole(tmp_path / "again"), altered=True)
    assert bundles.judge(altered) == ["verified: an altered bundle was accepted"]

    def crashes(folder: Path) -> bool:
        raise KeyError("parts")

    def hangs(folder: Path) -> bool:
        while True:
            pass

    monkeypatch.setattr(bundles, "LIMIT_S", 0.2)
    monkeypatch.setattr(bundles, "USES", (crashes, hangs))
    assert bundles.judge(altered) == ["crashes: KeyError: 'parts'", "hangs: it hangs"]
