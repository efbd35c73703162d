"""The loaded model of a bundle, as users hold it: what the backend opened, closed at the end of a `with` block."""

from __future__ import annotations

from edgekit.plugin import Precision, Session, Threaded


class BundleSession:
    """A session that is a context manager too. Its calls are the backend's own, so they cost nothing more."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.inputs, self.outputs = session.inputs, session.outputs
        self.run, self.bind, self.profile, self.close = session.run, session.bind, session.profile, session.close

    @property
    def precision(self) -> Precision:
        """Ask the runtime what really runs."""
        return self._session.precision

    @property
    def threads(self) -> int | None:
        """Return how many threads an inference uses; None where the runtime does not say."""
        return self._session.threads if isinstance(self._session, Threaded) else None

    def __enter__(self) -> BundleSession:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
