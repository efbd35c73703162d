"""Sounds, read with soundfile from a path, bytes or an array, as one channel at the rate that a model takes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.data.resample import resample
from edgekit.errors import EnvironmentFault, UsageError

if TYPE_CHECKING:
    import numpy as np

SOUNDS = (".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif")

MOST_SECONDS = 4 * 3600
"""The longest sound that is read."""

RATES = (1000, 1_000_000)
"""The lowest and the highest rate of a file: resampled from a higher one it would fill the memory."""

MOST_SAMPLES = 1 << 28
"""The most values of a sound, of all its channels: 1 GB of single precision."""

_STREAMED = 0x7F000000
"""A wav file that was written to a pipe states a length like this, or more: its writer could not know it."""


def read_sound(value: Any, rate: int, name: str = "sound") -> np.ndarray:
    """Return the samples of a path, encoded bytes or an array, float32 [samples] between -1 and 1, at `rate`.

    The channels of a file are averaged. An array is one channel at that rate already. Raises UsageError for a sound
    that does not open, is empty, too long, or not finite; EnvironmentFault where soundfile is missing.
    """
    import numpy as np

    if isinstance(value, (str, Path)):
        path = Path(value)
        name = str(path)
        if not path.is_file():
            raise _fault(name, "the file does not exist")
        _check_length(name, path)
        samples, own = _decode(path, name)
    elif isinstance(value, (bytes, bytearray)):
        samples, own = _decode(io.BytesIO(value), name)
    else:
        samples, own = _array(value, name), rate
    if not len(samples):
        raise _fault(name, "it has no samples")
    if not np.isfinite(samples).all():
        raise _fault(name, "some of its samples are not finite")
    return resample(samples, own, rate)


def _decode(file: Any, name: str) -> tuple[np.ndarray, int]:
    """Return the mean of a file's channels, and its rate."""
    library = _soundfile()
    try:
        with library.SoundFile(file) as opened:
            if not RATES[0] <= opened.samplerate <= RATES[1]:
                raise _fault(name, f"its header states a rate of {opened.samplerate:,} Hz")
            seconds = opened.frames / opened.samplerate
            if seconds > MOST_SECONDS or opened.frames * opened.channels > MOST_SAMPLES:
                raise UsageError(
                    f"the sound '{name}' lasts {seconds:,.0f} seconds in {opened.channels} channels; at most "
                    f"{MOST_SECONDS:,} seconds and {MOST_SAMPLES:,} values are read.",
                    hint="cut it into several files",
                )
            samples = opened.read(dtype="float32", always_2d=True)
            return samples.mean(axis=1), int(opened.samplerate)
    except UsageError:
        raise
    except Exception as error:  # of damaged files: LibsndfileError, RuntimeError, ValueError, OverflowError
        raise _fault(name, "it is empty, damaged, or not in a known form of sound") from error


def _check_length(name: str, path: Path) -> None:
    """Raise UsageError for a wav file that ends before its header says: libsndfile would read the rest in silence."""
    with path.open("rb") as file:
        header = file.read(12)
    if header[:4] != b"RIFF" or header[8:12] != b"WAVE":
        return
    stated = int.from_bytes(header[4:8], "little") + 8
    size = path.stat().st_size
    if size < stated < _STREAMED:
        raise _fault(name, f"it is cut short: its header states {stated:,} bytes, and it has {size:,}")


def _array(value: Any, name: str) -> np.ndarray:
    import numpy as np

    samples = np.asarray(value)
    if samples.ndim == 2 and samples.shape[0] == 1:
        samples = samples[0]
    if samples.ndim != 1 or samples.dtype.kind != "f":
        raise UsageError(
            f"the array '{name}' is {samples.dtype} of shape {list(samples.shape)}, not a sound.",
            hint="give one channel of floating-point samples between -1 and 1, at the model's rate",
        )
    return samples.astype(np.float32)


def _fault(name: str, reason: str) -> UsageError:
    return UsageError(
        f"the sound '{name}' does not open: {reason}.", hint="replace it, or remove it from the data", sound=name
    )


def _soundfile() -> Any:
    try:
        import soundfile
    except (ImportError, OSError) as error:  # the second without libsndfile
        raise EnvironmentFault(
            "reading sounds needs soundfile, which is not installed.", hint="pip install 'edgekit[audio]'"
        ) from error
    return soundfile
