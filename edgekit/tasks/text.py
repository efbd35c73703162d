"""From texts to token tensors with the `tokenizers` package, as transformers' AutoTokenizer does it."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edgekit.data import Sample
from edgekit.data.columns import WORDS
from edgekit.errors import ArtifactError, EnvironmentFault, UsageError, listed, nearest
from edgekit.spec import TensorSpec, check_feeds
from edgekit.tasks.config import TOKENIZER, TextConfig
from edgekit.tasks.tensor import fit

if TYPE_CHECKING:
    import numpy as np

IDS = "input_ids"


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer of a file. Raises EnvironmentFault where `tokenizers` is missing, ArtifactError where the
    file is missing or damaged.
    """
    try:
        from tokenizers import Tokenizer
    except ImportError as error:
        raise EnvironmentFault(
            "tokenizing text needs the package tokenizers, which is not installed.",
            hint="pip install 'edgekit[tasks]'",
        ) from error
    if not path.is_file():
        raise ArtifactError(
            f"the model has no '{path.name}', so its text cannot be tokenized.",
            hint="export it with --processor FOLDER, or feed token ids (npz with the inputs' names)",
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the package raises a bare Exception
        raise ArtifactError(
            f"cannot read the tokenizer '{path}': {error}.", hint="copy or export the bundle again"
        ) from error


def count_cut(task: Any, samples: Iterable[Sample]) -> tuple[int, int | None]:
    """Return how many of the samples have texts with more tokens than the model is fed, and that number of tokens."""
    texts = getattr(getattr(task, "task", task), "prepare", None)  # a metric of the user's own wraps the task
    if not isinstance(texts, Texts) or texts.limit is None:
        return 0, None
    return sum(map(texts.is_cut, samples)), texts.limit


@dataclass(frozen=True, eq=False)
class TokenizerFile:
    """A tokenizer that is read once, on use, however often a task is changed."""

    path: Path

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer, None for a model without the file."""
        return read_tokenizer(self.path) if self.path.is_file() else None


def words_of(sample: Sample) -> list[str] | None:
    """Return the words of a sample whose text is a list of them; None for another sample."""
    for name in WORDS:
        words = sample.fields.get(name)
        if isinstance(words, (list, tuple)) and words and all(isinstance(word, str) for word in words):
            return list(words)
    return None


@dataclass(frozen=True, eq=False)
class Texts:
    """Prepares a text model's inputs from the one or two texts of a sample, or from its token ids."""

    config: TextConfig
    assets: Path
    inputs: Sequence[TensorSpec]
    separate: bool = False
    """One inference for each text, instead of one for the pair."""
    pad_side: Literal["left", "right"] | None = None
    stride: int | None = None
    """Where it is set, a pair whose second text is too long is read in windows that share so many tokens of it."""

    def __call__(self, sample: Sample) -> list[dict[str, np.ndarray]]:
        if IDS in sample.fields:
            return [self._complete({name: sample.fields[name] for name in self._names & set(sample.fields)})]
        texts = self.texts(sample)
        if self.stride is not None:
            return [self._of_encoding(window) for window in self.windows(texts)]
        groups = [(text,) for text in texts] if self.separate else [texts]
        return [self.encode(group) for group in groups]

    def windows(self, texts: Sequence[str]) -> list[Any]:
        """Return the encodings of a pair, each with the first text and as much of the second as fits.

        Raises UsageError where the first text leaves no room, and for one text alone.
        """
        if len(texts) != 2:
            raise UsageError(
                "a question and a context are needed, and one text is given.",
                hint="name both columns, the question first: --text-column question --text-column context",
            )
        tokenizer = self._windowed
        if self.limit is not None:
            # The other tokenizer: this one cannot encode a text without its pair.
            tokens = sum(self.tokenizer.encode(texts[0], add_special_tokens=False).attention_mask)
            special = tokenizer.num_special_tokens_to_add(is_pair=True)
            if tokens + special + (self.stride or 0) >= self.limit:
                raise UsageError(
                    f"the question has {tokens} tokens, and question and context are fed {self.limit} at a time.",
                    hint="ask a shorter question",
                )
        encoding = tokenizer.encode(*texts)
        return [encoding, *encoding.overflowing]

    def texts(self, sample: Sample) -> tuple[str, ...]:
        """Return the one or two texts: the configured columns, those that the reader chose, or every field of text.

        Raises UsageError where a column is missing, and for no text or more than two.
        """
        if not self.config.columns and (words := words_of(sample)) is not None:
            return (" ".join(words),)
        names = self.config.columns or sample.text
        names = names or tuple(name for name, value in sample.fields.items() if isinstance(value, str))
        known = listed(sample.fields) or "nothing"
        for name in names:
            if name not in sample.fields:
                raise UsageError(
                    f"the sample has no text '{name}'.{nearest(name, sample.fields)}", hint=f"it has {known}"
                )
        if not 1 <= len(names) <= 2:
            number = f"{len(names)} texts ({', '.join(names)})" if names else "no text"
            raise UsageError(
                f"the sample has {number} where one text or a pair is needed.",
                hint=f"name the columns with --text-column; the sample has {known}",
            )
        values = [sample.fields[name] for name in names]
        # An empty cell of a table is read as None, but an empty text is a text.
        return tuple("" if value is None else str(value) for value in values)

    def encode(self, texts: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the model's inputs of one text or a pair, tokenized, each [1, tokens]."""
        return self._of_encoding(self.tokenizer.encode(*(self.config.prefix + text for text in texts)))

    def _of_encoding(self, encoding: Any) -> dict[str, np.ndarray]:
        return self._complete(
            {
                IDS: [self._ids(encoding)],
                "attention_mask": [encoding.attention_mask],
                "token_type_ids": [encoding.type_ids],
            }
        )

    def _ids(self, encoding: Any) -> list[int]:
        """Return the ids of the tokens, by the vocabulary that the model's text and its answer share."""
        if self._vocabulary is None:
            return list(encoding.ids)
        unknown = self._vocabulary[self.config.unknown]
        return [self._vocabulary.get(token, unknown) for token in encoding.tokens]

    @functools.cached_property
    def _vocabulary(self) -> dict[str, int] | None:
        file = self.config.vocabulary
        return None if file is None else dict(read_tokenizer(self.assets / file).get_vocab())

    @property
    def limit(self) -> int | None:
        """The number of tokens at which texts are cut; None where they are not."""
        return min(filter(None, [self.config.max_length, self.length]), default=None)

    def is_cut(self, sample: Sample) -> bool:
        """Return whether a text of the sample has more tokens than the model is fed."""
        if self.limit is None or self.stride is not None or IDS in sample.fields:
            return False
        texts = self.texts(sample)
        groups = [(text,) for text in texts] if self.separate else [texts]
        encodings = (self.tokenizer.encode(*(self.config.prefix + text for text in group)) for group in groups)
        return any(encoding.overflowing for encoding in encodings)

    @functools.cached_property
    def tokenizer(self) -> Any:
        """The tokenizer of `assets/tokenizer.json`, with this model's truncation and padding in place of the file's.

        Raises EnvironmentFault where `tokenizers` is missing, ArtifactError where the file is missing or damaged.
        """
        tokenizer = read_tokenizer(self.assets / TOKENIZER)
        if self.limit is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(max_length=self.limit)
        return self._padded(tokenizer)

    @functools.cached_property
    def _windowed(self) -> Any:
        """The tokenizer of pairs whose second text is cut into windows."""
        tokenizer = read_tokenizer(self.assets / TOKENIZER)
        if self.limit is None:
            tokenizer.no_truncation()
        else:
            # Where the question fills most of a window, less of the context can be shared.
            tokenizer.enable_truncation(max_length=self.limit, stride=self.stride or 0, strategy="only_second")
        return self._padded(tokenizer)

    def _padded(self, tokenizer: Any) -> Any:
        """Return the tokenizer with the padding of this model's inputs."""
        length = self.length
        if length is None:
            tokenizer.no_padding()
        else:
            side = self.pad_side or self.config.pad_side
            token = tokenizer.id_to_token(self.config.pad_id) or "[PAD]"
            tokenizer.enable_padding(
                direction=side,
                pad_id=self.config.pad_id,
                pad_type_id=self.config.pad_type_id,
                pad_token=token,
                length=length,
            )
        return tokenizer

    @property
    def length(self) -> int | None:
        """The number of tokens that every input is padded to: the graph's where it is fixed, else the config's."""
        for spec in self.inputs:
            if spec.name == IDS and len(spec.shape) == 2 and isinstance(spec.shape[1], int):
                return spec.shape[1]
        return self.config.pad_to

    @property
    def _names(self) -> set[str]:
        return {spec.name for spec in self.inputs}

    def _complete(self, given: Mapping[str, Any]) -> dict[str, np.ndarray]:
        """Return the inputs that the graph has, those that a tokenizer does not produce computed from the others."""
        import numpy as np

        ids = np.atleast_2d(np.asarray(given[IDS]))
        mask = np.atleast_2d(np.asarray(given.get("attention_mask", np.ones_like(ids))))
        # transformers' decoders count positions from the first real token; padding has position 1. Without padding on
        # the left this is 0, 1, 2, ...
        positions = np.where(mask == 0, 1, np.cumsum(mask, axis=-1) - 1)
        available = {
            "attention_mask": mask,
            "token_type_ids": np.zeros_like(ids),
            "position_ids": positions,
            **given,
        }
        feeds = {}
        for spec in self.inputs:
            if spec.name not in available:
                raise UsageError(
                    f"the model needs the input '{spec}', which a tokenizer does not produce.",
                    hint="give arrays named as the inputs (npz), or another task with --task",
                )
            feeds[spec.name] = fit(available[spec.name], spec)
        check_feeds(self.inputs, feeds)
        return feeds
