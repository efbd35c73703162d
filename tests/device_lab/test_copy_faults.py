"""The faults of copies to and from a board: each is named, ends with exit code 7, and leaves nothing behind."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edgekit.device import DeviceLock, connect
from edgekit.errors import DeviceError
from tests.device_lab.board import EmulatedBoard
from tests.device_lab.expect import refused
from tests.device_lab.lab import Lab

pytestmark = pytest.mark.slow


@pytest.fixture
def large(tmp_path: Path) -> Path:
    folder = tmp_path / "large"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(os.urandom(6 << 20))
    (folder / "manifest.json").write_text("{}")
    return folder


def test_a_disk_that_is_too_small(lab: Lab, ssh_config: Path, large: Path) -> None:
    with (
        lab.spare(tmp_kb=4096) as small,
        connect(small.address) as transport,
        DeviceLock(transport, folder="/tmp/edgekit") as lock,
    ):
        with refused(small, "'large'", "7.0 MB", re.compile(r"\b[34]\.\d MB"), hint="EDGEKIT_DEVICE_DIR"):
            lock.push_bundle(large)
        with refused(small, "'model.onnx'", "6.0 MB", re.compile(r"\b[34]\.\d MB"), hint="EDGEKIT_DEVICE_DIR"):
            lock.push(large / "model.onnx", "model.onnx")
        # Between the check and the write another program can fill it.
        small.replace("/bin/df", "#!/bin/sh\necho head; echo disk 9999999 0 9999999 0% /tmp\n")
        with refused(small, "'large'", "'/tmp/edgekit/bundles/large'", "disk is full", hint="space"):
            lock.push_bundle(large)
        with refused(small, "'model.onnx'", "disk is full", hint="space"):
            lock.push(large / "model.onnx", "model.onnx")
        left = transport.run(["find", "/tmp/edgekit", "-type", "f"], timeout_s=30).text.split()
        assert sorted(left) == ["/tmp/edgekit/edgekit-device", "/tmp/edgekit/lease"]


ALTERING_TAR = """#!/usr/bin/python3
import pathlib, sys, tarfile
folder = pathlib.Path(sys.argv[sys.argv.index("-C") + 1])
with tarfile.open(fileobj=sys.stdin.buffer, mode="r|") as tar:
    tar.extractall(folder)
data = bytearray((folder / "model.onnx").read_bytes())
data[12345] ^= 1
(folder / "model.onnx").write_bytes(data)
"""


def test_an_upload_that_arrives_altered(spare: EmulatedBoard, large: Path) -> None:
    with connect(spare.address) as transport, DeviceLock(transport) as lock:
        there = spare.home / ".cache/edgekit-device"
        spare.replace("/bin/tar", ALTERING_TAR)
        with refused(spare, "'model.onnx'", "'large'", "altered", hint="again"):
            lock.push_bundle(large)
        spare.restore("/bin/tar")
        spare.replace("/bin/cat", "#!/bin/sh\nexec head -c 1000000\n")
        with refused(spare, "'model.onnx'", "altered", hint="again"):
            lock.push(large / "model.onnx", "model.onnx")
        spare.restore("/bin/cat")
        assert not list(there.rglob("model.onnx*"))
        lock.push_bundle(large)
    assert (there / "bundles/large/model.onnx").read_bytes() == (large / "model.onnx").read_bytes()


def test_a_download_that_is_cut_leaves_nothing_here(spare: EmulatedBoard, large: Path, tmp_path: Path) -> None:
    with connect(spare.address) as transport, DeviceLock(transport) as lock:
        lock.push(large / "model.onnx", "model.onnx")
        spare.replace("/bin/cat", '#!/bin/sh\nhead -c 1000000 "$2"; kill -9 $$\n')
        with pytest.raises(DeviceError):
            lock.fetch("model.onnx", tmp_path / "back" / "model.onnx")
        spare.restore("/bin/cat")
        assert not list((tmp_path / "back").iterdir())
        lock.fetch("model.onnx", tmp_path / "back" / "model.onnx")
    assert (tmp_path / "back" / "model.onnx").read_bytes() == (large / "model.onnx").read_bytes()
