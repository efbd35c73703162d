"""Who wrote a pass that breaks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from edgekit import registry
from edgekit.errors import BuildError, EdgekitError


@contextlib.contextmanager
def blamed(name: str) -> Iterator[None]:
    """Name the package of a third party's pass that breaks; what breaks in our own is a bug of ours and shows its
    trace.
    """
    try:
        yield
    except EdgekitError:
        raise
    except Exception as error:
        owner = registry.distribution("pass", name)
        if owner.split()[0] == "edgekit":
            raise
        raise BuildError(
            f"the pass '{name}' of {owner} failed: {type(error).__name__}: {error}.",
            hint=f"report it to the authors of {owner.split()[0]}, or take a recipe without this pass",
        ) from error
