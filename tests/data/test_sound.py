"""Sounds: every usual form is read right, and a broken one is one clear error."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit.data import load
from edgekit.data.resample import resample
from edgekit.data.sound import read_sound
from edgekit.errors import UsageError
from tests.wording import raises

soundfile = pytest.importorskip("soundfile")

RATE = 16000
TONE = (0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)).astype(np.float32)
STEPS = {"PCM_U8": 2**-7, "PCM_16": 2**-15, "PCM_24": 2**-23, "PCM_32": 2**-24, "FLOAT": 1e-9, "DOUBLE": 1e-9}


@pytest.mark.parametrize("subtype", STEPS)
def test_every_width_of_wav_is_read(subtype, tmp_path):
    soundfile.write(tmp_path / "a.wav", TONE, RATE, subtype=subtype)
    assert np.abs(read_sound(tmp_path / "a.wav", RATE) - TONE).max() <= STEPS[subtype]


def test_flac_and_bytes_are_read(tmp_path):
    soundfile.write(tmp_path / "a.flac", TONE, RATE)
    read = read_sound((tmp_path / "a.flac").read_bytes(), RATE)
    assert read.dtype == np.float32 and np.abs(read - TONE).max() < 2**-15


def test_channels_are_averaged(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.stack([TONE, 0 * TONE], axis=1), RATE, subtype="FLOAT")
    assert np.allclose(read_sound(tmp_path / "a.wav", RATE), TONE / 2)


@pytest.mark.parametrize("source", [8000, 11025, 22050, 44100, 48000])
def test_another_rate_keeps_the_tone_and_no_higher_one(source):
    times = np.arange(source) / source
    tone = np.sin(2 * np.pi * 1000 * times).astype(np.float32)
    result = resample(tone, source, RATE)
    wanted = np.sin(2 * np.pi * 1000 * np.arange(len(result)) / RATE)
    assert len(result) == RATE and np.abs(result - wanted)[400:-400].max() < 1e-4
    if source > 2 * 9000:
        above = resample(np.sin(2 * np.pi * 9000 * times).astype(np.float32), source, RATE)
        assert np.abs(above[400:-400]).max() < 1e-4


@pytest.mark.parametrize("rate", [1, 2**31 - 1])
def test_a_rate_that_no_sound_has_is_refused_before_it_is_resampled(rate, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE)
    content = bytearray(path.read_bytes())
    content[24:28] = rate.to_bytes(4, "little")
    path.write_bytes(content)
    with raises(UsageError, f"{rate:,} Hz", hint="remove it"):
        read_sound(path, RATE)


@pytest.mark.parametrize("place", [4, 40], ids=["file", "data"])
def test_a_length_of_four_gigabytes_in_the_header_reads_what_is_there(place, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE)
    content = bytearray(path.read_bytes())
    content[place : place + 4] = (0xFFFFFFF0).to_bytes(4, "little")
    path.write_bytes(content)
    assert np.abs(read_sound(path, RATE) - TONE).max() < 2**-15


def test_a_broken_sound_is_one_error(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, TONE, RATE)
    whole = path.read_bytes()
    not_finite = tmp_path / "nan.wav"
    soundfile.write(not_finite, np.full(100, np.nan), RATE, subtype="FLOAT")
    cases = {b"": "empty, damaged", whole[:5000]: "cut short", b"hello" * 99: "damaged", whole[:44]: "cut short"}
    for content, reason in cases.items():
        path.write_bytes(content)
        with pytest.raises(UsageError, match=reason):
            read_sound(path, RATE)
    soundfile.write(path, np.zeros(0), RATE)
    with pytest.raises(UsageError, match="no samples"):
        read_sound(path, RATE)
    with pytest.raises(UsageError, match="not finite"):
        read_sound(not_finite, RATE)
    with pytest.raises(UsageError, match="does not exist"):
        read_sound(tmp_path / "b.wav", RATE)


def test_a_sound_longer_than_the_limit_is_not_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr("edgekit.data.sound.MOST_SECONDS", 0.5)
    soundfile.write(tmp_path / "a.wav", TONE, RATE)
    with pytest.raises(UsageError, match="at most"):
        read_sound(tmp_path / "a.wav", RATE)


def test_folders_of_classes_and_tables_of_transcripts_are_data(tmp_path):
    for name in ("no", "yes"):
        (tmp_path / "classes" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "classes" / name / "a.wav", TONE, RATE)
    samples = load(str(tmp_path / "classes"))
    assert samples.kind == "sound folder" and list(samples.labels) == ["no", "yes"]
    (tmp_path / "data.jsonl").write_text('{"audio": "classes/no/a.wav", "text": "no thanks"}\n')
    sample = load(str(tmp_path / "data.jsonl"))[0]
    assert sample.label == "no thanks" and sample.fields == {"audio": tmp_path / "classes" / "no" / "a.wav"}
