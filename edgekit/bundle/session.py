"""The loaded model of a bundle for users: the backend's session, which a `with` block closes at its end."""

from __future__ import annotations

from edgekit.plugin import Precision, Session, Threaded


class BundleSession:
    """A session that is a context manager too. Its methods are the backend's own, so they add no time."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.run, self.bind, self.profile, self.close = session.run, session.bind, session.profile, session.close

    @property
    def precision(self) -> Precision:
        """The precision that really runs, as the runtime reports it."""
        return self._session.precision

    @property
    def threads(self) -> int | None:
        """Return how many threads an inference uses; None where the runtime does not report it."""
        return self._session.threads if isinstance(self._session, Threaded) else None

    def __enter__(self) -> BundleSession:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
