"""The facts of a device: parsed from fixture trees, and read from this machine by the real script."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from edgekit.device import connect, hardware_report, profile
from edgekit.device import facts as device_facts
from edgekit.device.hardware_report import RawFacts
from edgekit.errors import DeviceError, UnsupportedError, UsageError
from edgekit.target import host, jetson, target
from tests.wording import mentions, raises

HOSTS = Path(__file__).parent.parent / "fixtures" / "hosts"


def report(name: str, **facts: str) -> RawFacts:
    """Return the hardware report of a board of the fixtures."""
    root = HOSTS / name
    files = {f"/{path.relative_to(root)}": path.read_bytes() for path in root.rglob("*") if path.is_file()}
    machine = "x86_64" if name in ("vm", "intel-n100") else "aarch64"
    defaults = {"machine": machine, "bits": "64", "libc": "glibc 2.36", "home": "/home/pi", "disk_free_kb": "4194304"}
    return RawFacts(files, {**defaults, **facts}, ())


@pytest.mark.parametrize(
    ("name", "fitting"),
    [
        ("raspberry-pi-4", "raspberry-pi-4"),
        ("raspberry-pi-5", "raspberry-pi-5"),
        ("rk3588", "rk3588"),
        ("jetson-orin-nano", "jetson-orin-nano"),
        ("intel-n100", "intel-n100"),
    ],
)
def test_the_narrowest_target_that_fits(name, fitting):
    facts = device_facts.from_raw("ssh://board", report(name))
    fits = [fit for fit in device_facts.rank_targets(facts.host) if not fit.mismatches]
    assert fits[0].name == fitting
    if name == "jetson-orin-nano":
        assert "jetson" in [fit.name for fit in fits], "its family fits as well, and comes behind it"


def test_facts_are_the_devices_not_this_machines():
    facts = device_facts.from_raw("ssh://board", report("raspberry-pi-4", libc="", machine="aarch64"))
    assert (facts.host.arch, facts.host.libc, facts.host.python) == ("aarch64", None, "")
    assert facts.disk_free_mb == 4096
    assert not facts.emulated


def test_a_32_bit_system_on_a_64_bit_kernel():
    facts = device_facts.from_raw("ssh://board", report("raspberry-pi-4", bits="32"))
    assert facts.host.arch == "armv7l"


def test_the_jetpack_of_a_jetson():
    files = {**report("jetson-orin-nano").files, "/etc/nv_tegra_release": b"# R36 (release), REVISION: 4.3, GCID: 1\n"}
    facts = device_facts.from_raw(
        "ssh://jetson", RawFacts(files, {"machine": "aarch64", "tensorrt": "10.3.0.30-1+cuda12.5"}, ())
    )
    assert (facts.l4t, facts.jetpack, facts.tensorrt) == ("36.4.3", "6.2", "10.3.0.30-1+cuda12.5")
    without = device_facts.from_raw("ssh://jetson", RawFacts(files, {"machine": "aarch64"}, ()))
    assert any(mentions(problem, "TensorRT") for problem in device_facts.missing(without))


@pytest.mark.parametrize(
    ("release", "jetpack"),
    [("36.4.7", "6.2.1"), ("36.3.0", "6.0"), ("35.4.1", "5.1"), ("32.7.1", "4.6"), ("31.1", None), (None, None)],
)
def test_jetpack_by_l4t(release, jetpack):
    assert jetson.jetpack_of(release) == jetpack


def test_this_machine_by_the_real_script(home):
    with connect("local:") as transport:
        probe = device_facts.probe(transport)
    here = host.probe()
    facts = probe.facts
    assert (facts.host.arch, facts.host.cpu, facts.host.isa) == (here.arch, here.cpu, here.isa)
    assert facts.host.memory_mb == here.memory_mb
    assert facts.home == str(home)
    assert facts.disk_free_mb is not None
    assert not list(home.iterdir()), "a probe leaves nothing"


def test_an_incomplete_report_is_an_error():
    class Cut:
        address = "ssh://board"

        def run(self, argv, **_):
            from edgekit.device.transport import Completed

            return Completed(0, b"fact machine aarch64\nfile /proc/cpuinfo\n 70 72\n", b"")

    with raises(DeviceError, "'ssh://board'", hint="od and head"):
        hardware_report.fetch(Cut())


@pytest.mark.parametrize("name", ["raspberry-pi-5", "vm"])
def test_a_target_file_of_what_was_read(name, tmp_path):
    facts = device_facts.from_raw("ssh://board", report(name))
    probe = device_facts.ProbeResult(facts, device_facts.rank_targets(facts.host), ())
    file = tmp_path / "kitchen.toml"
    file.write_text(profile.to_toml(probe))
    read = target.load(str(file))
    assert read.mismatches(facts.host) == (), "the device fits its own target"
    assert read.backends and read.candidates
    assert read.device.isa == facts.host.isa
    assert mentions(read.evidence["isa"], re.compile(r"\b20\d\d-\d\d-"))
    if name == "raspberry-pi-5":
        assert 'extends = "raspberry-pi-5"' in file.read_text()


@pytest.mark.parametrize("name", ["kitchen", "kit chen.toml", "kitchen.json"])
def test_a_target_file_needs_a_name(name, tmp_path):
    with raises(UsageError, re.compile(r"kit.?chen(\.\w+)?'"), hint="NAME.toml"):
        profile.check(tmp_path / name)


def test_an_existing_file_is_not_overwritten(tmp_path):
    (tmp_path / "kitchen.toml").write_text("mine")
    with raises(UsageError, "kitchen.toml'", "exists"):
        profile.check(tmp_path / "kitchen.toml")


def test_devices_on_the_command_line(run, home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    listed = json.loads(run("devices", "--json").stdout)
    assert set(listed["transports"]) >= {"local", "ssh"}
    assert listed["devices"] == []
    Path("fleet.toml").write_text('[[device]]\nname = "here"\naddress = "local:"\n')
    assert "here" in run("devices").stdout
    written = run("devices", "probe", "here", "--write", "mine.toml")
    assert written.exit_code == 0
    assert "next:  edgekit export MODEL --target mine.toml" in written.stdout
    assert target.load("./mine.toml").mismatches(host.probe()) == ()
    assert run("devices", "probe").exit_code == 2
    assert run("devices", "--write", "x.toml").exit_code == 2
    assert run("devices", "clean", "local:").exit_code == 0
    assert not (home / ".cache" / "edgekit-device").exists()


def test_the_target_for_a_device_is_the_narrowest_or_the_one_that_is_wanted():
    board = device_facts.from_raw("ssh://board", report("jetson-orin-nano")).host
    assert device_facts.choose_target("ssh://board", board) == "jetson-orin-nano"
    assert device_facts.choose_target("ssh://board", board, "jetson") == "jetson", "the one that is wanted may be wider"
    with raises(UnsupportedError, "'ssh://board'", "'raspberry-pi-5'", hint="--target") as caught:
        device_facts.choose_target("ssh://board", board, "raspberry-pi-5")
    assert caught.value.problems


def test_no_target_for_a_device(monkeypatch):
    unknown = device_facts.from_raw("ssh://board", report("raspberry-pi-4", machine="riscv64")).host
    nearest = device_facts.TargetFit("raspberry-pi-4", ("the target is aarch64",))
    monkeypatch.setattr(device_facts, "rank_targets", lambda host: (nearest,))
    with raises(UnsupportedError, "'ssh://board'", hint="edgekit devices probe ssh://board --write"):
        device_facts.choose_target("ssh://board", unknown)


def test_an_export_takes_the_target_of_its_device(run, home):
    fitting = json.loads(run("devices", "probe", "local:", "--json").stdout)["target"]
    planned = run("export", "digits", "--device", "local:", "--dry-run", "--candidate", "onnxruntime/fp32")
    if fitting is None:
        assert planned.exit_code == 4 and mentions(planned.stderr, "local:", "target")
    else:
        assert planned.exit_code == 0, planned.stderr
        assert f'target = "{fitting}"' in planned.stdout
        assert mentions(planned.stderr, ("local:", f"'{fitting}'"))
    other = run("export", "digits", "--device", "local:", "--target", "jetson", "--dry-run")
    assert other.exit_code == 4 and mentions(other.stderr, "'jetson'")
