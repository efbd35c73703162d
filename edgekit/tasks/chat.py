"""Chat templates: messages as the text that a model was trained on, by the tokenizer's own Jinja text, in a sandbox.

The variables and filters are those of transformers' `apply_chat_template`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit._reading import read_json
from edgekit.errors import ArtifactError, EnvironmentFault, UsageError

FILE = "chat.json"

MESSAGES = "messages"
"""The field of a sample that holds messages, each with a role and a content."""

LONGEST = 1_000_000
"""Most characters of a template, and of what it writes."""


def save(assets: Path, template: Any, tokens: Mapping[str, Any]) -> None:
    """Write the template of a tokenizer, and its special tokens by name; nothing for a tokenizer without a template."""
    if isinstance(template, Mapping):
        template = template.get("default")
    if isinstance(template, str) and template:
        named = {name: token for name, token in tokens.items() if isinstance(token, str)}
        (assets / FILE).write_text(json.dumps({"template": template, "tokens": named}, indent=1) + "\n")


def is_messages(value: Any) -> bool:
    """Return whether a value is a list of messages."""
    entries = value if isinstance(value, list) else []
    return bool(entries) and all(isinstance(each, Mapping) and "role" in each for each in entries)


def of_text(text: str) -> list[dict[str, str]]:
    """Return the messages of a user who writes one text."""
    return [{"role": "user", "content": text}]


def render(assets: Path, messages: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of messages up to where the model answers.

    Raises UsageError for a model without a template and messages that it refuses, EnvironmentFault without jinja2,
    ArtifactError for a template that is damaged.
    """
    if not (assets / FILE).is_file():
        raise UsageError(
            "the model has no chat template, so it cannot be given messages.", hint="give it a text, without --chat"
        )
    if not is_messages(messages):
        raise UsageError(
            "the messages are not a list of objects with a role and a content.",
            hint='give messages as [{"role": "user", "content": "..."}]',
        )
    record = read_json(assets / FILE, "the chat template", fault=ArtifactError)
    if not isinstance(record, dict) or not isinstance(record.get("template"), str) or len(record["template"]) > LONGEST:
        raise ArtifactError(f"the chat template '{assets / FILE}' is damaged.", hint="copy or export the bundle again")
    tokens = record.get("tokens")
    return _rendered(record["template"], messages, tokens if isinstance(tokens, dict) else {})


def _rendered(template: str, messages: Sequence[Mapping[str, Any]], tokens: Mapping[str, Any]) -> str:
    try:
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise EnvironmentFault(
            "a chat template needs the package jinja2, which is not installed.", hint="pip install jinja2"
        ) from error
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
    )
    environment.filters["tojson"] = _to_json
    environment.globals |= {"raise_exception": _refuse, "strftime_now": _now}
    try:
        text: str = environment.from_string(template).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, **tokens
        )
    except UsageError:
        raise
    except (jinja2.TemplateError, TypeError, ValueError, ArithmeticError, RecursionError) as error:
        raise UsageError(
            f"the chat template of the model cannot be applied to these messages: {type(error).__name__}: {error}.",
            hint="give messages with the roles user and assistant by turns, or a text without --chat",
        ) from error
    if len(text) > LONGEST:
        raise UsageError(f"the messages make a text of {len(text)} characters.", hint="give fewer messages")
    return text


def _to_json(value: Any, ensure_ascii: bool = False, indent: int | None = None, **settings: Any) -> str:
    """Return JSON without HTML escapes, unlike Jinja's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, **settings)


def _refuse(message: str) -> None:
    """Raise UsageError with the message of a template."""
    raise UsageError(
        f"the chat template of the model refuses these messages: {message}",
        hint="give messages with the roles user and assistant by turns",
    )


def _now(form: str) -> str:
    import datetime

    return datetime.datetime.now().strftime(form)
