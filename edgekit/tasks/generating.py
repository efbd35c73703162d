"""Generation as a user asks for it: settings in place of the model's own, and text piece by piece."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekit.errors import UsageError
from edgekit.tasks.config import MOST_BEAMS, Generation
from edgekit.tasks.task import Generating, Task

UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What a tokenizer writes for the first bytes of a character that more tokens complete."""

LOOK_BACK = 16
"""Tokens before a new one that its text may depend on: spaces and characters of several tokens."""


@dataclass(frozen=True)
class Asked:
    """What a user sets in place of the model's generation_config.json; None leaves the model's own."""

    max_new_tokens: int | None = None
    temperature: float | None = None
    """0 takes the best token each time; more draws, the likelier the lower it is."""
    top_k: int | None = None
    top_p: float | None = None
    beams: int | None = None
    chat: bool = False
    """Whether a text is a user's message, written by the model's chat template."""

    def __post_init__(self) -> None:
        for name, value, least, most in (
            ("max-new-tokens", self.max_new_tokens, 1, None),
            ("temperature", self.temperature, 0, None),
            ("top-k", self.top_k, 0, None),
            ("top-p", self.top_p, 0, 1),
            ("beams", self.beams, 1, MOST_BEAMS),
        ):
            if value is not None and not (least <= value and (most is None or value <= most)):
                limits = f"from {least} to {most}" if most is not None else f"of at least {least}"
                raise UsageError(f"--{name} is a number {limits}, not {value}.", hint=f"leave it out, or use {least}")

    def __bool__(self) -> bool:
        return self != Asked()

    def of(self, generation: Generation) -> Generation:
        """Return the model's settings with what is asked."""
        changes: dict[str, Any] = {}
        if self.max_new_tokens is not None:
            changes["max_new"] = self.max_new_tokens
        if self.beams is not None:
            changes["beams"] = self.beams
        draws = self.temperature or self.top_k is not None or self.top_p is not None
        if draws:
            changes |= {"sampled": True, "beams": 1}
        if self.temperature is not None:
            changes |= {"temperature": self.temperature} if self.temperature else {"sampled": False}
        changes |= {name: value for name in ("top_k", "top_p") if (value := getattr(self, name)) is not None}
        return replace(generation, **changes)


def asked(task: Task, settings: Asked) -> Task:
    """Return the task with what a user asks. Raises UsageError for a task that generates nothing."""
    if not settings:
        return task
    if not isinstance(task, Generating):
        raise UsageError(
            f"the task '{task.config.task}' generates no text, so nothing can be set for it.",
            hint="leave out --max-new-tokens, --beams, --temperature, --top-k and --top-p",
        )
    if settings.chat and not hasattr(task, "chat"):
        raise UsageError(f"the task '{task.config.task}' does not continue a text.", hint="leave out --chat")
    more: dict[str, Any] = {"chat": True} if settings.chat else {}
    changed: Any = replace(task, config=replace(task.config, generation=settings.of(task.generation)), **more)  # type: ignore[type-var]
    return changed  # type: ignore[no-any-return]


def pieces(ids: Iterable[int], text_of: Callable[[Sequence[int]], str]) -> Iterator[str]:
    """Yield the text of ids as they come, in pieces that together are the whole text.

    A piece ends where a character is complete: some are of several tokens.
    """
    known: list[int] = []
    begun, shown = 0, ""
    for token in ids:
        known.append(token)
        text = text_of(known[begun:])
        if text.endswith(UNFINISHED) or not text.startswith(shown) or text == shown:
            continue
        yield text[len(shown) :]
        begun = max(0, len(known) - LOOK_BACK)
        shown = text_of(known[begun:])
    rest = text_of(known[begun:])
    if rest.startswith(shown) and rest != shown:
        yield rest[len(shown) :]
