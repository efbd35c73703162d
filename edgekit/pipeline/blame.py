"""What a backend or a pass raises, whatever it is, costs the candidate that it happens to, and not the export; it is
named with the package that brings it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from edgekit import registry
from edgekit.errors import BuildError, DeviceError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.plugin import Backend, LayerTime, Payload, Precision, Session, Stateful

if TYPE_CHECKING:
    import numpy as np


@contextlib.contextmanager
def blamed(backend: str, doing: str) -> Iterator[None]:
    """Raise what a backend raises as UnsupportedError or BuildError, which cost a candidate; `doing` is what failed.

    The error that it raised is the cause.
    """
    try:
        yield
    except (UnsupportedError, BuildError):
        raise
    except EdgekitError as error:
        # "Copy or export the bundle again" helps the user of a bundle, not whoever exports it.
        hint = error.hint if _is_the_users(error, doing) else None
        raise BuildError(f"{backend} failed {doing}: {error.message.rstrip('.')}.", hint=hint, doing=doing) from error
    except Exception as error:  # a vendor's own, or a fault of the plugin
        owner = registry.distribution("backend", backend)
        raise BuildError(
            f"{backend} failed {doing}: {_words(error)}.",
            hint=f"report it to the authors of {owner.split()[0]}, or choose another backend with --backend",
        ) from error


SHOWN = 3
"""How many candidates the error names when none is left."""

BUILDING = "to build the model"


def _is_the_users(error: EdgekitError, doing: str) -> bool:
    """Return whether an error names what the user can change: the environment, the machine, or the build's options.

    Feeds that the original takes are not at fault, and neither is a file that was written a moment ago.
    """
    return isinstance(error, (EnvironmentFault, DeviceError)) or (isinstance(error, UsageError) and doing == BUILDING)


def _original(fault: EdgekitError) -> EdgekitError:
    """Return the backend's own error behind a fault, where that names what the user can change."""
    cause = fault.__cause__
    names_it = isinstance(cause, EdgekitError) and _is_the_users(cause, str(fault.context.get("doing")))
    return cause if names_it and isinstance(cause, EdgekitError) else fault


def guarded(backend: str) -> Backend:
    """Return a backend that opens sessions whose errors are those of a candidate."""
    return cast(Backend, _Opener(backend))


class _Opener:
    """The part of a backend that opens what was built."""

    def __init__(self, backend: str) -> None:
        self._backend = backend

    def open(self, payload: Payload) -> Session:
        with blamed(self._backend, "to open the model"):
            session = registry.backend(self._backend).open(payload)
        kind = _StatefulBlamed if isinstance(session, Stateful) else _Blamed
        return kind(session, self._backend)


class _Blamed:
    """A session whose errors are those of a candidate."""

    def __init__(self, session: Session, backend: str) -> None:
        self.inputs, self.outputs = session.inputs, session.outputs
        self._session, self._backend = session, backend

    @property
    def precision(self) -> Precision:
        with blamed(self._backend, "to report its precision"):
            return self._session.precision

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        with blamed(self._backend, "on a sample that the original runs"):
            return self._session.run(feeds)

    def bind(self, feeds: Mapping[str, np.ndarray]) -> Callable[[], None]:
        with blamed(self._backend, "to bind a sample"):
            return self._session.bind(feeds)

    def profile(self, feeds: Mapping[str, np.ndarray]) -> tuple[LayerTime, ...]:
        with blamed(self._backend, "to time its layers"):
            return self._session.profile(feeds)

    def close(self) -> None:
        self._session.close()


class _StatefulBlamed(_Blamed):
    def step(self, feeds: Mapping[str, np.ndarray], states: MutableMapping[str, Any]) -> dict[str, np.ndarray]:
        assert isinstance(self._session, Stateful)
        with blamed(self._backend, "on a sample that the original runs"):
            return self._session.step(feeds, states)


def none_left(target: str, reasons: Sequence[str], faults: Sequence[EdgekitError]) -> EdgekitError:
    """Return the error for an export of which no candidate could be built, by what each failed with."""
    own = [_original(fault) for fault in faults]
    # The last candidate is the plainest: what would mend it mends the others as well.
    hint = next((fault.hint for fault in reversed(own) if fault.hint), None)
    if any(not isinstance(fault, UnsupportedError) for fault in own):
        if len(own) == 1 or len({(type(error), error.message) for error in own}) == 1:
            return own[0]
        kinds = {type(error) for error in own}
        kind = kinds.pop() if len(kinds) == 1 else BuildError
        listed = "".join(f"\n  - {reason}" for reason in reasons[:SHOWN])
        more = f"\n  - and {len(reasons) - SHOWN} more" if len(reasons) > SHOWN else ""
        error = kind(f"no candidate can be built for '{target}':{listed}{more}", hint=hint)
    else:
        error = UnsupportedError(f"nothing can be built for '{target}'.", problems=reasons, hint=hint)
    error.__cause__ = faults[0] if faults else None
    return error


@contextlib.contextmanager
def blamed_pass(name: str) -> Iterator[None]:
    """Raise what a pass raises beside errors of edgekit as BuildError, which costs its candidate and names the package
    that brings the pass; its trace is the cause's.
    """
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:
        owner = registry.distribution("pass", name)
        raise BuildError(
            f"the pass '{name}' of {owner} failed: {_words(error)}.",
            hint=f"report it to the authors of {owner.split()[0]}, or take a recipe without this pass",
        ) from error


def _words(error: Exception) -> str:
    """Return an exception's type and the first line of its message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["without a message"]
    return f"{type(error).__name__}: {lines[0].rstrip('.')}"
