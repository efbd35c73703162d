"""How a model's inputs are prepared and its outputs are read: the record that a source writes to `assets/task.json`.

The export and the device use the same record, so what is measured is what runs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit._reading import guard, read_json
from edgekit._record import Record
from edgekit.errors import ArtifactError, UsageError
from edgekit.spec import TensorSpec
from edgekit.tasks.detection_config import DetectionConfig
from edgekit.tasks.segmentation_config import SegmentationConfig
from edgekit.tasks.span_config import SpanConfig
from edgekit.tasks.spectrum_config import SpectrumConfig
from edgekit.tasks.speech_config import SpeechConfig

FILE = "task.json"
TOKENIZER = "tokenizer.json"

_CORRECT = "compare the settings with the generation_config.json of the model's origin, and correct them"
MOST_BEAMS = 1024
_AGAIN = "correct the checkpoint's preprocessing files, or copy the bundle again"

LARGEST_EDGE = 1 << 15
"""Most pixels of a picture's side that a record may ask for."""

MOST_TOKENS = 1 << 31

MOST_AUDIO = 1 << 28
"""The greatest number of an AudioConfig: samples, frames, seconds."""

SEQ2SEQ = ("translation", "summarization", "text2text-generation")
"""Tasks from text to text, by an encoder and a decoder."""

ENCODED = (*SEQ2SEQ, "automatic-speech-recognition", "image-to-text")
"""Tasks to text by an encoder and a decoder; a sound or a picture may be what is encoded."""

ProblemType = Literal["multi-label", "regression", "values"]
"""The meaning of a classifier's outputs where they are not one class of several: any number of classes
(`multi-label`), one number (`regression`), or several numbers (`values`)."""


@dataclass(frozen=True)
class ImageConfig(Record):
    """The steps from a picture to one float tensor: convert, resize, crop, rescale, normalise, lay out."""

    input: str = "pixel_values"
    channels: Literal["rgb", "bgr", "gray"] = "rgb"
    size: tuple[int, ...] | None = None
    """(height, width) for `exact` and letterboxes; (edge,) for `shortest_edge`; None keeps the size."""
    resize: Literal["exact", "shortest_edge", "letterbox", "letterbox-corner"] = "exact"
    """A letterbox keeps the picture's shape and fills the rest with `pad`: the picture is in the middle, or in the top
    left corner."""
    longest: int | None = None
    """Of `shortest_edge`: the most pixels of the longer edge."""
    multiple: int = 1
    """Of `shortest_edge`: both edges are rounded down to multiples of it."""
    resample: int = 2
    """Pillow's filter number: 0 nearest, 1 lanczos, 2 bilinear, 3 bicubic."""
    antialias: bool = True
    """False: bilinear from the four nearest pixels alone, as OpenCV resizes."""
    pad: int = 114
    """The level of the pixels around the picture in a letterbox, 0 to 255."""
    crop: tuple[int, ...] | None = None
    """(height, width) of the centre crop."""
    rescale: float = 1 / 255
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    layout: Literal["nchw", "nhwc"] = "nchw"

    def __post_init__(self) -> None:
        for name, sizes in (("size", self.size), ("crop", self.crop)):
            if sizes is not None and not (len(sizes) in (1, 2) and all(1 <= size <= LARGEST_EDGE for size in sizes)):
                raise UsageError(f"{name} is not one or two numbers of pixels from 1 to {LARGEST_EDGE}.", hint=_AGAIN)
        for name, least, most in (("longest", 1, LARGEST_EDGE), ("multiple", 1, LARGEST_EDGE), ("pad", 0, 255)):
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                raise UsageError(f"{name} is not a number from {least} to {most}.", hint=_AGAIN)
        if not 0 <= self.resample <= 5:
            raise UsageError("resample is not the number of a filter, 0 to 5.", hint=_AGAIN)
        channels = 1 if self.channels == "gray" else 3
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in (1, channels):
                raise UsageError(f"{name} is not one number, or one for each of {channels} channels.", hint=_AGAIN)


@dataclass(frozen=True)
class AudioConfig(Record):
    """The steps from a sound to one float tensor: one channel, at a rate, as samples or as a mel spectrogram."""

    input: str = "input_values"
    rate: int = 16000
    features: Literal["samples", "log-mel", "hann", "povey", "spectrum"] = "samples"
    """Samples, Whisper's log-mel spectrogram [mels, frames], Kaldi's filter banks [frames, mels] by their window, or
    what `spectrum` describes."""
    normalized: bool = False
    """Mean 0 and variance 1: of the samples, or of each filter bank."""
    length: int | None = None
    """Samples that a shorter sound is padded to, and a longer one cut."""
    shortest: int = 1
    """Samples that a shorter sound is padded to: the least that the network's convolutions take."""
    frames: int | None = None
    """Frames of filter banks that they are padded or cut to."""
    mels: int = 80
    fft: int = 400
    hop: int = 160
    mean: float = 0.0
    std: float = 1.0
    """Subtracted from filter banks, and divided by twice."""
    window: float | None = None
    """Seconds of the parts that a longer sound is cut into, each answered by itself; None: it is one part."""
    step: int | None = None
    """New samples of each call of a model that takes a sound step by step; None: a call takes all of it."""
    context: int = 0
    """Samples before them that are fed again."""
    spectrum: SpectrumConfig | None = None
    speech: SpeechConfig | None = None

    def __post_init__(self) -> None:
        least = {"rate": 1000, "shortest": 1, "mels": 1, "fft": 2, "hop": 1, "length": 1, "frames": 1, "context": 0,
                 "step": 1}  # fmt: skip
        for name, low in least.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= MOST_AUDIO:
                raise UsageError(f"{name} is not a number from {low} to {MOST_AUDIO}.", hint=_AGAIN)
        if self.window is not None and not 0.01 <= self.window <= MOST_AUDIO:
            raise UsageError("window is not a number of seconds from 0.01.", hint=_AGAIN)
        if self.std == 0:
            raise UsageError("std is 0.", hint=_AGAIN)
        if (self.features == "spectrum") != (self.spectrum is not None):
            raise UsageError("features and spectrum do not agree.", hint="give both, or neither")


@dataclass(frozen=True)
class CtcConfig(Record):
    """How the scores of frames become text: the likeliest token of each, repeated ones once, without blanks."""

    tokens: tuple[str, ...]
    """By id."""
    blank: int
    space: str | None = "|"
    """The token between words."""


@dataclass(frozen=True)
class TextConfig(Record):
    """The steps from one text or a pair to token tensors, with `assets/tokenizer.json`."""

    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    max_length: int | None = None
    """Longer texts are truncated."""
    pad_to: int | None = None
    """Pad to this many tokens: set when the graph has a fixed length."""
    pad_id: int = 0
    pad_type_id: int = 0
    pad_side: Literal["left", "right"] = "right"
    vocabulary: str | None = None
    """The tokenizer file that gives the ids of tokens, where `tokenizer.json` only splits the text."""
    unknown: str = "<unk>"
    """The token of what that vocabulary lacks."""
    prefix: str = ""
    """Written before every text: the prompt that a sentence model was trained with."""
    columns: tuple[str, ...] = ()
    """Columns of a table that hold the text, or the two texts of a pair; empty: chosen by their content."""

    def __post_init__(self) -> None:
        for name, value, least in (
            ("max_length", self.max_length, 1),
            ("pad_to", self.pad_to, 1),
            ("pad_id", self.pad_id, 0),
            ("pad_type_id", self.pad_type_id, 0),
        ):
            if value is not None and not least <= value < MOST_TOKENS:
                raise UsageError(f"{name} is not a number from {least} to {MOST_TOKENS - 1}.", hint=_AGAIN)


@dataclass(frozen=True)
class TabularConfig(Record):
    """The steps from named columns of numbers to one float tensor [1, columns]."""

    input: str = "features"
    columns: tuple[str, ...] = ()
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    missing: Literal["nan"] | None = None
    """What an empty cell is to the model; None: it takes none."""

    def __post_init__(self) -> None:
        counts = {len(values) for values in (self.mean, self.std, self.columns or None) if values and len(values) > 1}
        if len(counts) > 1:
            raise UsageError("mean, std and columns do not have one number for each column.", hint=_AGAIN)


@dataclass(frozen=True)
class Generation(Record):
    """How a decoder's scores become token ids, by the model's generation_config.json."""

    start: int
    """The token that the decoder is fed first."""
    prompt: tuple[int, ...] = ()
    """Tokens that always follow the first: a language, a task."""
    languages: tuple[int, ...] = ()
    """The tokens of languages, of which the likeliest follows the first, before `prompt`; empty: none does."""
    stops: tuple[int, ...] = ()
    """Tokens that end the text."""
    max_length: int = 20
    """The most tokens, those of the prompt (or the first) included."""
    min_length: int = 0
    max_new: int | None = None
    """The most tokens after the prompt, in place of `max_length`."""
    min_new: int | None = None
    context: int | None = None
    """The most tokens that the model has positions for; None without a limit."""
    vocabulary: int | None = None
    """The number of tokens that the model knows."""
    beams: int = 1
    sampled: bool = False
    """Whether tokens are drawn by their probabilities, and not taken by them."""
    temperature: float = 1.0
    """Scores are divided by it before a token is drawn."""
    top_k: int = 0
    """Only so many of the best tokens are drawn from; 0: all."""
    top_p: float = 1.0
    """Only the best tokens of this share of the probability are drawn from."""
    min_p: float = 0.0
    """Only tokens of at least this share of the best one's probability are drawn."""
    length_penalty: float = 1.0
    early_stopping: Literal["yes", "no", "never"] = "no"
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    """No group of so many tokens occurs twice; 0 allows it."""
    bad_words: tuple[tuple[int, ...], ...] = ()
    """Sequences of tokens that are never completed."""
    forced_first: int | None = None
    forced_last: tuple[int, ...] = ()
    """The token at the greatest length, or one of these."""
    suppressed: tuple[int, ...] = ()
    suppressed_first: tuple[int, ...] = ()
    not_followed: tuple[str, ...] = ()
    """Settings of generation_config.json that are not among these."""
    tokenizer: str = TOKENIZER
    """The file whose vocabulary the ids are of; where it is not that of the source's text, tokens are mapped by it."""

    def __post_init__(self) -> None:
        ranges = [
            ("beams", 1, MOST_BEAMS),
            ("max_length", 1, math.inf),
            ("no_repeat_ngram", 0, math.inf),
            ("length_penalty", -1000, 1000),
            ("repetition_penalty", 0, math.inf),
        ]
        if self.sampled:
            ranges += [("temperature", 0, math.inf), ("top_k", 0, math.inf), ("top_p", 0, 1), ("min_p", 0, 1)]
        for name, least, most in ranges:
            value = getattr(self, name)
            if not (least <= value <= most and value < math.inf):
                limits = f"of at least {least}" if most == math.inf else f"from {least} to {most:,}"
                raise UsageError(f"{name} is {str(value)[:20]}, not a number {limits}.", hint=_CORRECT)
        first = () if self.forced_first is None else (self.forced_first,)
        words = (token for word in self.bad_words for token in word)
        for token in (*first, *self.forced_last, *self.stops, *self.suppressed, *self.suppressed_first, *words):
            if token < 0 or (self.vocabulary is not None and token >= self.vocabulary):
                raise UsageError(f"the token {str(token)[:20]} is not one of the model's vocabulary.", hint=_CORRECT)

    def longest(self, prompt: int) -> int:
        """Return the most tokens, the `prompt` included."""
        most = self.max_length if self.max_new is None else prompt + self.max_new
        return most if self.context is None else min(most, self.context)

    def shortest(self, prompt: int) -> int:
        """Return the number of tokens, the `prompt` included, before which no stop id follows."""
        return self.min_length if self.min_new is None else prompt + self.min_new


@dataclass(frozen=True)
class CalledPart(Record):
    """A part of a model, and the inputs that it is fed."""

    name: str
    inputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class Calls(Record):
    """How a model of several graphs, or with states, is called for a sample, as its author describes it.

    Each part is called once, in order. The last is called for each token where `token` is given, and for each step of
    the sample where it is `recurrent`.
    """

    parts: tuple[CalledPart, ...]
    recurrent: bool = False
    """Whether the last part writes states that it reads."""
    token: str | None = None
    """Its input that takes the token before."""
    text: str | None = None
    """The input of the first part that takes the ids of the text."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs that a sample has: those of every part, but the token."""
        specs = {spec.name: spec for part in self.parts for spec in part.inputs}
        return tuple(spec for name, spec in specs.items() if name != self.token)


@dataclass(frozen=True)
class TaskConfig(Record):
    """What a task needs on the device besides the graph and the tokenizer file."""

    task: str
    labels: tuple[str, ...] = ()
    """Names of the classes, by index."""
    numbers: Literal["names"] | None = None
    """`names`: a label that is a number is a class's name, as where classes count from 1; None: it is an index."""
    order: tuple[str, ...] = ()
    """What the data calls the classes, by index, where that is neither their names nor their indexes."""
    positive: str | None = None
    """The class that AUC and F1 are of; None: the one with index 1."""
    metric: str | None = None
    """accuracy, f1, auc, spearman, pearson, map and others; None means the task's own."""
    output: str | None = None
    """The output that holds the answer; None means the first. Of a classifier, an export names it."""
    image: ImageConfig | None = None
    segmentation: SegmentationConfig | None = None
    audio: AudioConfig | None = None
    ctc: CtcConfig | None = None
    detection: DetectionConfig | None = None
    text: TextConfig | None = None
    span: SpanConfig | None = None
    """How an answer is read from a text."""
    tabular: TabularConfig | None = None
    problem_type: ProblemType | None = None
    activation: Literal["logits", "probabilities"] | None = None
    """The form of a classifier's output; None: a single output is a logit, and several are probabilities where they are
    positive and sum to one."""
    generation: Generation | None = None
    calls: Calls | None = None
    """The calls of a sample; None: those of the task."""
    no_preprocessing: str | None = None
    """Why the model's own preprocessing is missing, where it has one without an equivalent here."""
    metric_code: str | None = None
    """SHA-256 of the file that holds the user's own metric: cached scores of other code are not used."""

    def save(self, assets: Path) -> None:
        assets.mkdir(parents=True, exist_ok=True)
        (assets / FILE).write_text(json.dumps(self.to_dict(), indent=1) + "\n")

    @classmethod
    def load(cls, assets: Path) -> TaskConfig | None:
        """Return the record in `task.json`; None where a model brings none. Raises ArtifactError where it is
        damaged.
        """
        path = assets / FILE
        if not path.exists():
            return None
        data = read_json(path, "the task", fault=ArtifactError)
        with guard(f"the task '{path}'", fault=ArtifactError):
            return cls.from_dict(_current(data), str(path))


def _current(data: Any) -> Any:
    """Return the data with the current fields; earlier versions wrote some of them into a table `facts`."""
    if not isinstance(data, Mapping) or not isinstance(data.get("facts"), Mapping):
        return data
    facts = data["facts"]
    fields = {
        "problem_type": facts.get("problem"),
        "activation": facts.get("activation"),
        "no_preprocessing": facts.get("image") or facts.get("text"),
        "metric_code": facts.get("metric_code"),
    }
    return {**{name: value for name, value in data.items() if name != "facts"}, **fields}
