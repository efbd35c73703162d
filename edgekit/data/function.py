"""Rows of a user's function, which is called again for each pass: never more than one sample is in memory.

The first pass counts the samples and keeps the digest and the label of each; later passes must yield the same samples,
because the original and every candidate run in passes of their own and are compared sample by sample.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit._record import digest_of
from edgekit.data.content import digest_of_content
from edgekit.data.samples import Sample
from edgekit.errors import EdgekitError, UsageError, nearest

MOST_SAMPLES = 1_000_000
"""A function that yields more is considered endless."""

LABEL = "label"


class FromFunction:
    """The samples of `package.module:function`: an iterable of dicts, of (dict, label) pairs, or of Sample.

    A dict's "label" is its label, as in a row of `datasets`.
    """

    kind = "function"
    notes: tuple[str, ...] = ()

    def __init__(self, ref: str) -> None:
        self.source = ref
        self._function = imported(ref, "no arguments")
        self._digests: list[str] = []
        labels: list[Any] = []
        for sample in self._pass():
            self._digests.append(digest_of_content([sample.fields, sample.label]))
            labels.append(sample.label)
            if len(labels) > MOST_SAMPLES:
                raise UsageError(
                    f"'{ref}' yielded more than {MOST_SAMPLES:,} samples.", hint="yield a finite number of samples"
                )
        if not labels:
            raise UsageError(f"'{ref}' yielded no samples.", hint="yield at least one dict of inputs")
        self.labels: Sequence[Any] | None = labels if any(label is not None for label in labels) else None
        self._iterator: Iterator[Sample] = iter(())
        self._next = len(labels)

    def __len__(self) -> int:
        return len(self._digests)

    def __getitem__(self, index: int) -> Sample:
        if index < self._next:
            self._iterator, self._next = self._pass(), 0
        while True:
            sample = next(self._iterator, None)
            if sample is None:
                raise UsageError(
                    f"'{self.source}' yielded {len(self)} samples in the first pass and {self._next} now.",
                    hint="it must yield the same samples each time",
                )
            self._next += 1
            if self._next > index:
                break
        if digest_of_content([sample.fields, sample.label]) != self._digests[index]:
            raise UsageError(
                f"'{self.source}' yielded another sample {index} than in the first pass.",
                hint="it must yield the same samples in the same order each time it is called: seed random generators",
            )
        return sample

    def digest(self, indexes: Sequence[int] | None) -> str:
        return digest_of([self._digests[index] for index in (range(len(self)) if indexes is None else indexes)])

    def _failed(self, where: str, error: Exception) -> UsageError:
        """Return the error for an exception in the user's code."""
        return UsageError(
            f"'{self.source}' failed{where}: {described(error)}.",
            hint="it is called without arguments and must return an iterable of samples",
        )

    def _pass(self) -> Iterator[Sample]:
        try:
            items = iter(self._function())
        except EdgekitError:
            raise
        except TypeError as error:
            raise UsageError(
                f"'{self.source}' cannot be read: {error}.",
                hint="it must take no arguments and return an iterable of samples",
            ) from error
        except Exception as error:  # the user's own code
            raise self._failed("", error) from error
        number = 0
        while True:
            try:
                item = next(items)
            except StopIteration:
                return
            except EdgekitError:
                raise
            except Exception as error:  # the user's own code
                raise self._failed(f" at sample {number}", error) from error
            yield _sample(item, f"sample {number} of '{self.source}'")
            number += 1


def _sample(item: Any, where: str) -> Sample:
    if isinstance(item, Sample):
        return item
    if isinstance(item, Mapping):
        fields = {str(name): _value(value) for name, value in item.items()}
        return Sample(fields, _label(fields.pop(LABEL, None)))
    if isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], Mapping):
        return Sample({str(name): _value(value) for name, value in item[0].items()}, _label(item[1]))
    raise UsageError(
        f"{where} is a {type(item).__name__}.",
        hint="yield a dict from input name to array, with its label as 'label', or a (dict, label) pair",
    )


def _value(value: Any) -> Any:
    # A framework's tensor becomes an array here, so that later code does not need the framework.
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _label(value: Any) -> Any:
    value = _value(value)
    return value.item() if getattr(value, "size", 0) == 1 and hasattr(value, "item") else value


def described(error: Exception) -> str:
    """Return the type, message, file and line of an exception in the user's code."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno})"


def imported(ref: str, takes: str) -> Callable[..., Any]:
    """Return the function `package.module:function`; `takes` names its arguments in messages.

    Raises UsageError where the module does not import or has no such function.
    """
    module_name, _, name = ref.partition(":")
    here = str(Path.cwd())
    if here not in sys.path:
        # As `python -m` does; it stays, since the function may import modules next to its own when it is called.
        sys.path.insert(0, here)
    importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name and (module_name == error.name or module_name.startswith(error.name + ".")):
            raise UsageError(
                f"the module '{error.name}' of '{ref}' does not exist.",
                hint=f"run from the folder that holds it (now: {here}), or install it",
            ) from error
        raise UsageError(
            f"importing '{module_name}' failed: it needs '{error.name}', which is not installed.",
            hint=f"pip install {error.name}",
        ) from error
    except Exception as error:  # the user's own code runs at import
        raise UsageError(
            f"importing '{module_name}' failed: {type(error).__name__}: {error}.",
            hint=f"python -c 'import {module_name}' shows where",
        ) from error
    function = getattr(module, name, None)
    if function is None:
        known = [key for key, value in vars(module).items() if callable(value) and not key.startswith("_")]
        raise UsageError(
            f"'{module_name}' has no function '{name}'.{nearest(name, known)}", hint=f"it has: {', '.join(known)}"
        )
    if not callable(function):
        raise UsageError(
            f"'{ref}' is a {type(function).__name__}, not a function.", hint=f"name a function that takes {takes}"
        )
    return function  # type: ignore[no-any-return]
