"""Evaluate the markers of requirements (PEP 508), such as `python_version < "3.11" and extra == "build"`."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Mapping

_TOKEN = re.compile(r"\s*(?:(\(|\))|(not\s+in|in|and|or)\b|(===|~=|==|!=|<=|>=|<|>)|'([^']*)'|\"([^\"]*)\"|([\w.]+))")

Satisfies = Callable[[str, str], bool]


def environment(extra: str | None) -> Mapping[str, str]:
    """Give the values of a marker's names on this machine, for one extra or for none."""
    return {
        "python_version": ".".join(map(str, sys.version_info[:2])),
        "python_full_version": platform.python_version(),
        "implementation_version": platform.python_version(),
        "implementation_name": sys.implementation.name,
        "platform_python_implementation": platform.python_implementation(),
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_system": platform.system(),
        "platform_machine": platform.machine(),
        "platform_release": platform.release(),
        "platform_version": platform.version(),
        "extra": extra or "",
    }


def holds(marker: str, values: Mapping[str, str], satisfies: Satisfies) -> bool:
    """Evaluate a marker; `satisfies` compares versions. Raises ValueError for one that does not read as a marker."""
    return _Reader(marker, values, satisfies).read()


class _Reader:
    """Read by recursive descent: or, then and, then parentheses and comparisons."""

    def __init__(self, marker: str, values: Mapping[str, str], satisfies: Satisfies) -> None:
        self._tokens = _tokens(marker)
        self._values = values
        self._satisfies = satisfies
        self._at = 0

    def read(self) -> bool:
        value = self._any()
        if self._at != len(self._tokens):
            raise ValueError(f"'{self._peek()}' is left over in a marker")
        return value

    def _any(self) -> bool:
        value = self._all()
        while self._peek() == "or":
            self._next()
            value = self._all() or value
        return value

    def _all(self) -> bool:
        value = self._one()
        while self._peek() == "and":
            self._next()
            value = self._one() and value
        return value

    def _one(self) -> bool:
        if self._peek() == "(":
            self._next()
            value = self._any()
            if self._next() != ")":
                raise ValueError("a parenthesis is not closed in a marker")
            return value
        left, operator, right = self._next(), self._next(), self._next()
        versions = any("version" in name for name in (left, right)) and "platform_version" not in (left, right)
        return self._compare(self._value(left), operator, self._value(right), versions)

    def _compare(self, left: str, operator: str, right: str, versions: bool) -> bool:
        if operator in ("in", "not in"):
            return (left in right) == (operator == "in")
        if versions:
            return self._satisfies(left, operator + right)
        if operator not in ("==", "!=", "==="):
            raise ValueError(f"'{operator}' compares no texts in a marker")
        return (left == right) == (operator != "!=")

    def _value(self, token: str) -> str:
        if token.startswith("="):
            return token[1:]
        if token not in self._values:
            raise ValueError(f"'{token}' is no name of a marker")
        return self._values[token]

    def _peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def _next(self) -> str:
        token = self._peek()
        self._at += 1
        return token


def _tokens(marker: str) -> list[str]:
    """Split a marker; a quoted text is marked by a leading `=`."""
    tokens, at = [], 0
    marker = marker.strip()
    while at < len(marker):
        match = _TOKEN.match(marker, at)
        if match is None:
            raise ValueError(f"'{marker[at:]}' does not read as a marker")
        parenthesis, word, operator, single, double, name = match.groups()
        text = single if single is not None else double
        plain = parenthesis or operator or name or (" ".join(word.split()) if word else "")
        tokens.append(f"={text}" if text is not None else plain)
        at = match.end()
    return tokens
