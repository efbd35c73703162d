"""The readers of sensors, on trees as boards have them (tests/fixtures/sensors/PROVENANCE), and on damaged ones."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import sensors
from edgekit.sensors import intel, jetson, raspberry, reading, thermal, throttling
from edgekit.sensors.reading import Unreadable
from tests.wording import mentions, raises

FIXTURES = Path(__file__).parent.parent / "fixtures" / "sensors"


def sensors_of(name: str) -> sensors.SensorSet:
    return sensors.find(FIXTURES / name, virtual=name == "vm")


def values(sensor_set: sensors.SensorSet, quantity: str) -> dict[str, float]:
    """Return the values of a quantity by sensor; those that cannot be read are left out."""
    read = {}
    for sensor in sensor_set.sensors:
        if sensor.quantity == quantity:
            try:
                read[sensor.name] = sensor.read()
            except Unreadable:
                continue
    return read


@pytest.fixture
def tree(tmp_path: Path):
    """A function that copies a board's tree, so that a test can change it."""

    def make(name: str) -> Path:
        return Path(shutil.copytree(FIXTURES / name, tmp_path / name))

    return make


def test_the_trees_say_that_nobody_captured_them():
    text = " ".join((FIXTURES / "PROVENANCE").read_text().split())
    assert "none was captured on a board" in text and "no number in them was measured" in text
    for folder in (path for path in FIXTURES.iterdir() if path.is_dir()):
        assert folder.name in text


def test_raspberry_pi_4_measures_no_power():
    sensor_set = sensors_of("raspberry-pi-4")
    assert values(sensor_set, "temperature") == {"cpu-thermal": 48.686}
    assert values(sensor_set, "clock") == {"policy0": 1500.0}
    assert sensor_set.rail is None and set(sensor_set.absent) == {"power"}
    assert mentions(sensor_set.absent["power"], "Raspberry Pi 4 Model B", "power")
    assert sensor_set.facts == {"arm clock": "1800 MHz before the run, by the firmware"}
    assert throttling.read(sensor_set.root).firmware == 0


def test_raspberry_pi_5_measures_its_rails_which_are_not_the_input():
    sensor_set = sensors_of("raspberry-pi-5")
    # 0.1 A x 3.7 V + 0.2 A x 3.3 V + 0.5 A x 1.8 V + 2.5 A x 0.9 V; voltages without a current are not a rail
    assert values(sensor_set, "power") == {sensor_set.rail: pytest.approx(0.37 + 0.66 + 0.9 + 2.25)}
    assert mentions(sensor_set.rail, "input")
    assert values(sensor_set, "temperature") == {"cpu-thermal": 61.5}


def test_orin_nano_uses_the_rail_of_the_total():
    sensor_set = sensors_of("jetson-orin-nano")
    assert sensor_set.rail == "VDD_IN"
    watts = values(sensor_set, "power")
    assert watts == {"VDD_IN": 5.008 * 1.48, "VDD_CPU_GPU_CV": pytest.approx(5.008 * 0.52), "VDD_SOC": 5.008 * 0.296}
    assert values(sensor_set, "clock") == {"policy0": 1510.4, "policy4": 729.6, "17000000.gpu": 624.75}
    assert "cv0-thermal" not in values(sensor_set, "temperature"), "a part that is off reports -256 degrees"
    assert values(sensor_set, "temperature")["tj-thermal"] == 52.406
    assert sensor_set.facts == {"power mode": "15W"}


def test_agx_orin_has_no_such_rail_so_its_rails_are_summed():
    sensor_set = sensors_of("jetson-agx-orin")
    assert sensor_set.rail == "VDD_GPU_SOC + VDD_CPU_CV + VIN_SYS_5V0 + VDDQ_VDD2_1V8AO"
    watts = values(sensor_set, "power")
    assert watts[sensor_set.rail] == pytest.approx(
        sum(value for name, value in watts.items() if name != sensor_set.rail)
    )
    assert watts[sensor_set.rail] == pytest.approx(19.096 * 0.4 + 5.032 * 0.92)
    assert "NC" not in sensor_set.rail, "what is not connected is left out"
    assert "hwmon4 channel 3" in sensor_set.absent, "and so is what has no label"
    assert sensor_set.facts["power mode"] == "MAXN"
    assert sensor_set.facts["clocks locked"].startswith("policy0 at 2201 MHz"), "as jetson_clocks leaves them"


def test_an_intel_box_counts_energy_and_throttling():
    sensor_set = sensors_of("intel-n100")
    assert sensor_set.rail == "package-0"
    assert values(sensor_set, "temperature")["coretemp Package id 0"] == 58.0
    assert set(values(sensor_set, "clock")) == {"policy0", "policy1", "policy2", "policy3"}
    assert intel.throttle_counts(sensor_set.root)["cpu3 core"] == 3


def test_a_bare_virtual_machine_has_no_sensors_and_a_reason():
    sensor_set = sensors_of("vm")
    assert sensor_set.rail is None
    assert set(sensor_set.absent) == {"temperature", "clock", "power"}
    assert all(mentions(reason, "virtual machine") for reason in sensor_set.absent.values())
    assert values(sensor_set, "memory") == {"available": pytest.approx(23552.0)}
    assert throttling.judge(throttling.read(sensor_set.root), throttling.read(sensor_set.root)).verdict == "unknown"


def test_a_machine_without_sensors_names_the_folders_that_were_read():
    sensor_set = sensors.find(FIXTURES / "vm")
    assert "sys/class/powercap" in sensor_set.absent["power"] and "cpufreq" in sensor_set.absent["clock"]


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOENT, "exist"),
        (errno.EACCES, "root"),
        (errno.EPERM, "root"),
        (errno.EAGAIN, "EAGAIN"),
        (errno.EINVAL, "EINVAL"),
        (errno.ENODATA, "ENODATA"),
    ],
)
def test_what_the_kernel_refuses_has_a_reason(monkeypatch: pytest.MonkeyPatch, code: int, words: str):
    def refuse(path: Path) -> bytes:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with raises(Unreadable, "'/sys/class/powercap/intel-rapl:0/energy_uj'", words):
        reading.number(Path("/sys/class/powercap/intel-rapl:0/energy_uj"))


@pytest.mark.skipif(os.geteuid() == 0 and shutil.which("setpriv") is None, reason="root reads everything")
def test_a_counter_that_only_root_may_read_is_refused(tree):
    """The real refusal, in a child without capabilities: root has to drop the one of reading everything."""
    root = tree("intel-n100")
    counter = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    counter.chmod(0)
    bare: list[str] = []
    if os.geteuid() == 0:
        os.chown(counter, 65534, 65534)
        bare = ["setpriv", "--inh-caps=-all", "--bounding-set=-all"]
    code = (
        "import sys\nfrom pathlib import Path\nfrom edgekit import sensors\n"
        "from edgekit.sensors.reading import Unreadable\n"
        "here = sensors.find(Path(sys.argv[1]))\n"
        "try:\n    print(next(s for s in here.sensors if s.name == here.rail).read())\n"
        "except Unreadable as reason:\n    print(reason)\n"
    )
    done = subprocess.run([*bare, sys.executable, "-c", code, str(root)], capture_output=True, text=True)
    assert mentions(done.stdout, f"'{counter}'", "root"), done.stderr


@pytest.mark.parametrize(("text", "words"), [("-40000", "-40 °C"), ("0", "0 °C"), ("", "''"), ("n/a", "'n/a'")])
def test_an_impossible_temperature_is_unreadable(tree, text: str, words: str):
    root = tree("raspberry-pi-4")
    (root / "sys/class/thermal/thermal_zone0/temp").write_text(text)
    (sensor,) = thermal.find(root)
    with raises(Unreadable, "temp'", words):
        sensor.read()


def test_a_temperature_below_zero_is_valid(tree):
    root = tree("raspberry-pi-4")
    (root / "sys/class/thermal/thermal_zone0/temp").write_text("-12500\n")
    assert thermal.find(root)[0].read() == -12.5


def test_a_zone_without_a_type_has_its_folders_name_and_equal_types_differ(tree):
    root = tree("jetson-orin-nano")
    (root / "sys/class/thermal/thermal_zone0/type").unlink()
    (root / "sys/class/thermal/thermal_zone1/type").write_text("tj-thermal\n")
    names = [sensor.name for sensor in thermal.find(root)]
    assert "thermal_zone0" in names and "tj-thermal" in names and "tj-thermal (thermal_zone4)" in names


def test_a_clock_that_is_switched_off_is_not_0_mhz(tree):
    root = tree("raspberry-pi-4")
    (root / "sys/devices/system/cpu/cpufreq/policy0/scaling_cur_freq").write_text("0\n")
    assert values(sensors.find(root), "clock") == {}


def test_the_model_ends_with_a_nul(tree):
    root = tree("raspberry-pi-4")
    assert (root / "proc/device-tree/model").read_bytes().endswith(b"\0")
    assert "\0" not in sensors.find(root).absent["power"]


def test_a_counter_wraps_and_a_reset_is_an_error(tree):
    zone = tree("intel-n100") / "sys/class/powercap/intel-rapl:0"
    counter = intel.Counter(zone)
    assert counter.read() == 0
    (zone / "energy_uj").write_text("262143100000\n")
    assert counter.read() == pytest.approx(0.1)
    (zone / "energy_uj").write_text("771150\n")  # past its range of 262143328850
    assert counter.read() == pytest.approx(0.1 + 0.22885 + 0.77115)
    (zone / "max_energy_range_uj").write_text("1000\n")
    (zone / "energy_uj").write_text("0\n")
    with raises(Unreadable, "energy_uj'", "reset"):
        counter.read()


def test_two_packages_are_summed(tree):
    root = tree("intel-n100")
    shutil.copytree(root / "sys/class/powercap/intel-rapl:0", root / "sys/class/powercap/intel-rapl:1")
    (root / "sys/class/powercap/intel-rapl:1/name").write_text("package-1\n")
    assert sensors.find(root).rail == "package-0 + package-1"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("exit 1", "exit code 1"),
        ('echo "Can\'t open device file: /dev/vcio" >&2; exit 255', "Can't open device file: /dev/vcio"),
        ("echo error=1", "error=1"),
        ("sleep 30", "0.3 s"),
    ],
)
def test_a_firmware_tool_that_fails_has_a_reason(tree, monkeypatch: pytest.MonkeyPatch, script: str, words: str):
    monkeypatch.setattr(reading, "TOOL_S", 0.3)
    root = tree("raspberry-pi-5")
    (root / "usr/bin/vcgencmd").write_text(f"#!/bin/sh\n{script}\n")
    with raises(Unreadable, "vcgencmd", words):
        raspberry.throttled(raspberry.tool(root))
    verdict = throttling.judge(throttling.read(root), throttling.read(root))
    assert verdict.verdict == "unknown" or "sleep" in script


def test_a_missing_firmware_tool_has_a_reason(tree):
    root = tree("raspberry-pi-5")
    (root / "usr/bin/vcgencmd").unlink()
    assert mentions(sensors.find(root).absent["power"], "'vcgencmd'", "apt-get install raspi-utils")


def bits(value: int) -> throttling.ThrottleCounts:
    return throttling.ThrottleCounts(firmware=value)


def test_throttling_of_a_raspberry_pi():
    assert throttling.judge(bits(0), bits(0)).verdict == "not throttled"
    # 0x50005: undervoltage and throttled, now and since boot
    seen = throttling.judge(bits(0), bits(0x50005))
    assert seen.verdict == "throttled" and any(mentions(reason, "voltage") for reason in seen.reasons)
    # set and cleared again during the run: only the bits since boot show it
    assert [mentions(reason, "throttled") for reason in throttling.judge(bits(0), bits(0x40000)).reasons] == [True]
    # set before the run: the firmware cannot report it again
    stale = throttling.judge(bits(0x40000), bits(0x40000))
    assert stale.verdict == "unknown" and mentions(stale.reasons[0], "reboot")


def test_throttling_of_an_intel_box_and_of_any_kernel(tree):
    root = tree("intel-n100")
    before = throttling.read(root)
    assert throttling.judge(before, throttling.read(root)).verdict == "not throttled"
    (root / "sys/devices/system/cpu/cpu2/thermal_throttle/core_throttle_count").write_text("14\n")
    seen = throttling.judge(before, throttling.read(root))
    assert len(seen.reasons) == 1 and mentions(seen.reasons[0], "12 times", "cpu2 core")
    (root / "sys/class/thermal/cooling_device0/cur_state").write_text("3\n")
    cooled = throttling.judge(before, throttling.read(root)).reasons[1]
    assert mentions(cooled, "Processor", "cooling_device0", "state 3")


def test_a_fan_is_not_throttling():
    assert throttling.read(FIXTURES / "raspberry-pi-5").cooling == {}


def test_a_rail_without_voltage_is_not_0_watts(tree):
    root = tree("jetson-orin-nano")
    (root / "sys/class/hwmon/hwmon1/in1_input").write_text("0\n")
    with raises(Unreadable, "in1_input'", "0 mV"):
        jetson.find(root)[0][0].read()
