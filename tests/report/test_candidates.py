"""Every status that a candidate can have, in every format of the report."""

from __future__ import annotations

from dataclasses import replace
from typing import get_args, get_type_hints

import pytest

from edgekit.report import candidates, html, markdown, text
from edgekit.result.report import Candidate

STATUSES = get_args(get_type_hints(Candidate)["status"])


def test_every_status_has_words():
    assert set(candidates.STATUS) == set(STATUSES)


@pytest.mark.parametrize("status", STATUSES)
def test_every_status_is_drawn(report, status):
    first, *others = report.candidates
    changed = replace(report, candidates=(replace(first, status=status), *others))
    for drawn in (text.render(changed, width=160, colour=False), markdown.render(changed), html.render(changed)):
        assert candidates.STATUS[status] in drawn
