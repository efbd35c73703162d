"""How samples become a mel spectrogram or its cepstral coefficients: the record behind `[audio.spectrum]`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit._record import Record
from edgekit.errors import UsageError

MOST = 1 << 20
"""The greatest window, hop and number of bands."""

_HINT = "compare [audio.spectrum] with the code that the model was trained with"


@dataclass(frozen=True)
class SpectrumConfig(Record):
    """The steps: cut into windows, transform, gather in mel bands, take the logarithm, transform to cepstra, scale."""

    window: int = 400
    """Samples of a frame."""
    hop: int = 160
    """Samples from one frame to the next."""
    fft: int | None = None
    """Points of the Fourier transform, of which a shorter window is the middle; None: those of the window."""
    shape: Literal["hann", "hamming", "rectangular"] = "hann"
    """The window's weights, periodic."""
    centred: bool = True
    """Whether the first frame's middle is the first sample, so that half a frame is added at both ends."""
    padding: Literal["reflect", "zeros"] = "reflect"
    """What is added there."""
    power: float = 2.0
    """The exponent of the magnitudes: 1 or 2."""
    mels: int = 40
    low: float = 0.0
    high: float | None = None
    """The frequencies in Hz between which the bands are; None: half the rate."""
    scale: Literal["slaney", "htk"] = "slaney"
    """The mel scale: linear to 1 kHz, or 2595 log10(1 + Hz / 700)."""
    area: bool = True
    """Whether each band is scaled to one area, and not to a height of one."""
    log: Literal["none", "natural", "decades", "decibels"] = "natural"
    offset: float = 0.0
    """Added before the logarithm."""
    floor: float = 1e-10
    """The least energy, to which a smaller one is raised before the logarithm; 0: an energy of 0 stays 0 after it."""
    range: float | None = None
    """The most that a value may be below the greatest, in units of the logarithm."""
    coefficients: int = 0
    """So many of the first cepstral coefficients (orthonormal DCT-II of the bands) are taken; 0: the bands."""
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    """Subtracted and divided by: one number, or one for each band."""
    layout: Literal["bands-frames", "frames-bands"] = "bands-frames"

    def __post_init__(self) -> None:
        numbers = {"window": self.window, "hop": self.hop, "mels": self.mels, "fft": self.points}
        for name, value in numbers.items():
            if not 1 <= value <= MOST:
                raise UsageError(f"{name} is {value}, not a number from 1 to {MOST}.", hint=_HINT)
        if self.points < self.window:
            raise UsageError(f"fft is {self.fft}, less than the window of {self.window}.", hint=_HINT)
        if not 0 <= self.coefficients <= self.mels:
            raise UsageError(
                f"coefficients is {self.coefficients}, not a number from 0 to the {self.mels} bands.", hint=_HINT
            )
        if self.power not in (1, 2):
            raise UsageError(f"power is {self.power}, neither 1 nor 2.", hint=_HINT)
        if self.low < 0 or (self.high is not None and self.high <= self.low):
            raise UsageError("high is not above low.", hint=_HINT)
        if self.floor < 0 or self.offset < 0:
            raise UsageError("floor or offset is negative.", hint=_HINT)
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in (1, self.bands) or (name == "std" and 0 in values):
                raise UsageError(f"{name} is not one number, or one for each of {self.bands} bands.", hint=_HINT)

    @property
    def points(self) -> int:
        return self.window if self.fft is None else self.fft

    @property
    def bands(self) -> int:
        """The number of values of a frame."""
        return self.coefficients or self.mels
