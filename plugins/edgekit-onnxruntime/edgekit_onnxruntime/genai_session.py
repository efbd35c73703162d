"""The device side of onnxruntime-genai: its engine, fed ids. It needs onnxruntime-genai and numpy, nothing else.

The state of a text is its ids; the runtime keeps the keys and values of each. A text that another call continued
already, as beams do, is read again from its ids: always right, and slow.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import ArtifactError, DeviceError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import LayerTime, Payload, Precision, TensorSpec, no_telemetry, probe_host
from edgekit_onnxruntime import kernels
from edgekit_onnxruntime.options import IDS, KNOWN, LOGITS, Options

if TYPE_CHECKING:
    import numpy as np

ROOM = 256
"""Tokens that a text has room for at first. Where it grows longer it is read again, into twice the room: the runtime
sets the memory of the longest text aside at once, which is gigabytes for models of long contexts."""

INSTALL = "pip install 'edgekit-onnxruntime[genai]'"


def runtime() -> Any:
    """Import onnxruntime-genai and return it. Raises EnvironmentFault when it is missing or broken."""
    no_telemetry()
    try:
        import onnxruntime_genai
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(f"onnxruntime-genai cannot be imported: {error}.", hint=INSTALL) from error
    return onnxruntime_genai


class Text:
    """The ids of one text, in the order in which they were fed, and the engine that has read them, where there is one.

    It is not changed; a call that continues it makes another, and takes the engine over.
    """

    __slots__ = ("engine", "ids")

    def __init__(self, ids: tuple[int, ...], engine: Engine | None = None) -> None:
        self.ids = ids
        self.engine = engine


class Texts:
    """The state: the texts of a batch."""

    __slots__ = ("rows",)

    def __init__(self, rows: Sequence[Text]) -> None:
        self.rows = tuple(rows)

    def take(self, order: Sequence[int], axis: int = 0) -> Texts:
        """Return the texts with the numbers `order`."""
        return Texts([self.rows[place] for place in order])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        import numpy as np

        return np.array([row.ids for row in self.rows], dtype or np.int64)


class Engine:
    """One generator of the runtime, and the ids that it has read."""

    def __init__(self, og: Any, model: Any, room: int) -> None:
        settings = og.GeneratorParams(model)
        settings.set_search_options(max_length=room, min_length=0, do_sample=False, batch_size=1, num_beams=1)
        self.generator = og.Generator(model, settings)
        self.room = room
        self.read: tuple[int, ...] = ()

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Read further ids, and return the scores of the one that follows, [1, vocabulary]."""
        import numpy as np

        self.generator.append_tokens(np.array([ids], np.int32))
        self.read = (*self.read, *ids)
        scores: np.ndarray = np.array(self.generator.get_logits()[:, -1], np.float32)
        return scores


class GenAiSession:
    """A model loaded in onnxruntime-genai."""

    def __init__(self, payload: Payload) -> None:
        payload.check()
        self.inputs: tuple[TensorSpec, ...] = payload.part.inputs
        self.outputs: tuple[TensorSpec, ...] = payload.part.outputs
        (self._past,) = payload.part.reads
        self._options = Options.from_dict(payload.options, "onnxruntime options")
        self._folder = payload.main.parent
        self._og = runtime()
        described = _described(payload.main)
        self._context, self._vocabulary = int(described["context_length"]), int(described["vocab_size"])
        self._precision: Precision | None = None
        self._model: Any = self._load()

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Read the ids that are known and those that follow, and return the scores with all ids."""
        import numpy as np

        if self._past not in feeds:
            raise UsageError(f"the input '{self._past}' is missing.", hint=f"feed {IDS} and {self._past}")
        states: dict[str, Any] = {KNOWN: feeds[self._past]}
        outputs = self.step(feeds, states)
        return {**outputs, self.outputs[-1].name: np.asarray(states[KNOWN])}

    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        """Read the ids that follow those of the state, and return the scores of the next. Masks and positions follow
        from the ids, and are not read.
        """
        import numpy as np

        self._check_open()
        ids = self._checked(feeds)
        before = states[KNOWN]
        known = before.rows if isinstance(before, Texts) else [Text(tuple(row)) for row in np.asarray(before).tolist()]
        if len(known) == 1 and len(ids) > 1 and not known[0].ids:
            known = [Text(()) for _ in ids]  # a batch starts from nothing
        if len(known) != len(ids):
            raise UsageError(f"{len(ids)} rows of ids follow {len(known)} texts.", hint="feed one row for each text")
        rows, scores = [], []
        for text, more in zip(known, ids, strict=True):
            engine, row = self._continued(text, more)
            rows.append(Text((*text.ids, *more), engine))
            scores.append(row)
        states[KNOWN] = Texts(rows)
        return {LOGITS: np.stack(scores)}

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        """Return a call that reads the ids from the beginning."""
        import numpy as np

        own = {name: np.array(array) for name, array in feeds.items()}
        self.run(own)

        def bound() -> None:
            self.run(own)

        return bound

    @property
    def threads(self) -> int:
        """Return how many threads an operator may use."""
        return self._options.threads or probe_host().cores

    @property
    def precision(self) -> Precision:
        """Read two ids under the profiler, and return which kernels ran on which types."""
        self._check_open()
        if self._precision is None:
            with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
                model = self._load(str(Path(folder) / "profile"))
                Engine(self._og, model, ROOM).feed((0, 0))
                del model  # its profile is written when it is released
                files = list(Path(folder).glob("profile*"))
                if not files:
                    raise UnsupportedError("the precision is unknown: onnxruntime-genai wrote no profile.")
                self._precision = kernels.precision(kernels.events(files[0]))
        return self._precision

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        raise UnsupportedError("the layers of a model with states cannot be timed.")

    def generate(self, ids: Sequence[int], most: int) -> Iterator[int]:
        """Yield the ids that follow `ids`, by the runtime's own greedy search, at most `most` of them."""
        self._check_open()
        self._check_length(len(ids) + 1)
        try:
            engine = Engine(self._og, self._model, min(self._context, len(ids) + most))
            engine.feed(ids)
            while not engine.generator.is_done():
                engine.generator.generate_next_token()
                yield int(engine.generator.get_next_tokens()[0])
        except Exception as error:
            raise _run_fault(error) from error

    def close(self) -> None:
        """Release the model; safe to call twice."""
        self._model = None

    def _continued(self, text: Text, more: Sequence[int]) -> tuple[Engine, np.ndarray]:
        """Return the engine that has read the text and `more`, and the scores of the id that follows."""
        length = len(text.ids) + len(more)
        self._check_length(length)
        engine = text.engine
        try:
            if engine is not None and engine.read == text.ids and length <= engine.room:
                return engine, engine.feed(more)
            room = min(self._context, max(ROOM, 2 * length))
            engine = Engine(self._og, self._model, room)
            return engine, engine.feed((*text.ids, *more))
        except Exception as error:
            raise _run_fault(error) from error

    def _checked(self, feeds: Mapping[str, np.ndarray]) -> list[list[int]]:
        ids = feeds.get(IDS)
        if ids is None or ids.ndim != 2 or ids.dtype.kind not in "iu" or not ids.size:
            shape = "nothing" if ids is None else f"{ids.dtype}{list(ids.shape)}"
            raise UsageError(f"'{IDS}' takes whole numbers, [batch, sequence], not {shape}.", hint="feed token ids")
        if not 0 <= ids.min() <= ids.max() < self._vocabulary:
            raise UsageError(
                f"the ids {ids.min()} to {ids.max()} are fed, and the model knows 0 to {self._vocabulary - 1}.",
                hint="use the tokenizer that the model was trained with",
            )
        rows: list[list[int]] = ids.tolist()
        return rows

    def _check_length(self, length: int) -> None:
        if length > self._context:
            raise UsageError(
                f"the text has {length} tokens, and the model takes {self._context}.", hint="give a shorter text"
            )

    def _check_open(self) -> None:
        if self._model is None:
            raise UsageError("the session is closed.", hint="open the bundle again")

    def _load(self, profile: str | None = None) -> Any:
        settings: dict[str, Any] = {"intra_op_num_threads": self.threads, "log_severity_level": 4}
        settings["session.intra_op.allow_spinning"] = "1" if self._options.allow_spinning else "0"
        if profile is not None:
            settings["enable_profiling"] = profile
        try:
            config = self._og.Config(str(self._folder))
            config.overlay(json.dumps({"model": {"decoder": {"session_options": settings}}}))
            return self._og.Model(config)
        except Exception as error:
            if "Failed to allocate" in str(error) or isinstance(error, MemoryError):
                raise DeviceError("there is not enough memory to load the model.") from error
            raise ArtifactError(
                f"onnxruntime-genai cannot load the model: {error}", hint="copy or export the bundle again"
            ) from error


def _described(config: Path) -> Mapping[str, Any]:
    """Return the model's description of a genai_config.json."""
    try:
        model = json.loads(config.read_text())["model"]
        return {name: int(model[name]) for name in ("context_length", "vocab_size")}
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise ArtifactError(
            f"'{config.name}' cannot be read: {error}.", hint="copy or export the bundle again"
        ) from error


def _run_fault(error: Exception) -> EdgekitError:
    if isinstance(error, EdgekitError):
        return error
    if isinstance(error, MemoryError) or "Failed to allocate" in str(error) or "bad_alloc" in str(error):
        return DeviceError(f"the device ran out of memory: {error}", hint="give a shorter text")
    return UsageError(f"the model fails on these ids: {str(error)[-300:]}", hint="check the ids")
