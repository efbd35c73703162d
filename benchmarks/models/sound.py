"""Keyword clips to cepstra, in numpy: what the res8 network was trained on."""

from __future__ import annotations

import io
import tarfile
import wave

import numpy as np

from models.place import assets

RATE = 16_000
WINDOW, HOP, BANDS = 480, 160, 40
LOW_HZ, HIGH_HZ = 20.0, 4000.0
WORDS = ("_silence_", "_unknown_", "yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")


def cepstra(samples: np.ndarray) -> np.ndarray:
    """Return [101, 40] of one second at 16 kHz in -1 to 1: the orthonormal cosine transform of log mel powers."""
    padded = np.pad(samples, WINDOW // 2, mode="reflect")
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    power = np.abs(np.fft.rfft(frames * hann, axis=1)) ** 2
    mel = power @ _bands().T
    mel[mel > 0] = np.log(mel[mel > 0])  # silence stays 0, as in the network's training
    return (mel @ _cosines().T).astype(np.float32)


def clips() -> tuple[np.ndarray, np.ndarray]:
    """Return the cepstra of every clip, [count, 101, 40], and its word's number; the words take turns."""
    by_word: dict[str, list[np.ndarray]] = {word: [] for word in WORDS}
    # In the order of the archive: going back in a compressed one reads it anew from the beginning.
    with tarfile.open(assets("kws-res8") / "clips.tar.gz") as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}
    for name in sorted(files):
        with wave.open(io.BytesIO(files[name])) as file:
            samples = np.frombuffer(file.readframes(RATE), np.int16).astype(np.float32) / 32768
        by_word[name.split("/")[-2]].append(cepstra(np.pad(samples, (0, RATE - len(samples)))))
    most = max(map(len, by_word.values()))
    turns = [
        (by_word[word][turn], label)
        for turn in range(most)
        for label, word in enumerate(WORDS)
        if turn < len(by_word[word])
    ]
    return np.stack([features for features, _ in turns]), np.array([label for _, label in turns], np.int64)


def _bands() -> np.ndarray:
    """Return the triangles of 40 mel bands over the spectrum, [40, 241], each scaled to an area of one (Slaney's)."""
    edges = _hertz(np.linspace(_mel(LOW_HZ), _mel(HIGH_HZ), BANDS + 2))
    bins = np.fft.rfftfreq(WINDOW, 1 / RATE)
    rising = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    falling = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0, np.minimum(rising, falling)) * (2 / (edges[2:] - edges[:-2]))[:, None]


def _mel(hertz: float) -> float:
    """Slaney's scale: linear to 1 kHz, then 27 steps to a factor of 6.4 (Auditory Toolbox, 1998)."""
    return hertz * 3 / 200 if hertz < 1000 else 15 + 27 * np.log(hertz / 1000) / np.log(6.4)


def _hertz(mel: np.ndarray) -> np.ndarray:
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


def _cosines() -> np.ndarray:
    """Return the orthonormal DCT-II over the bands, [40, 40]."""
    angle = np.pi / BANDS * np.outer(np.arange(BANDS), np.arange(BANDS) + 0.5)
    scale = np.full(BANDS, np.sqrt(2 / BANDS))
    scale[0] = np.sqrt(1 / BANDS)
    return np.cos(angle) * scale[:, None]
