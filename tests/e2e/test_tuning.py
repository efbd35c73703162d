"""Options tuned on the real runtimes: whatever this machine prefers, the bundle says what it ships with."""

from __future__ import annotations

import pytest

from edgekit.bundle import bundle


@pytest.mark.parametrize("backend", ["onnxruntime", pytest.param("openvino", marks=pytest.mark.nightly)])
def test_what_was_tuned_is_in_the_report_and_in_the_bundle(backend, command, place):
    out = place / "out" / f"tuned-{backend}"
    exported = command(
        "export",
        "digits",
        "--candidate",
        f"{backend}/fp32",
        "--bench-seconds",
        "0.5",
        "--no-mixed",
        "-o",
        out,
        "--json",
    )
    shipped, options = exported.report.shipped, bundle.open(out).payload.options
    assert len(shipped.tuning.variants) == 2, "as many as half a second has turns for"
    for variant in shipped.tuning.variants:
        assert variant.speed > 0 and variant.reason
    taken = shipped.tuning.taken
    if taken is None:
        assert all(options[key] != value for tried in shipped.tuning.variants for key, value in tried.options.items())
        assert shipped.measurement == shipped.tuning.before
    else:
        assert taken.speed > 1.02
        assert taken.options.items() <= options.items()
        assert shipped.measurement != shipped.tuning.before
    assert shipped.quality.ok
    command("verify", out)
