"""How fast a model that generates gives its tokens: values only."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit._record import Record
from edgekit.result import bounds


@dataclass(frozen=True)
class GenerationTimes(Record):
    """The times of the calls of one sample, in runs of their own: those up to the first token, then one a token."""

    count: int
    """Runs; every time is a median over them."""
    tokens: int
    """Tokens of a run, the first included."""
    first_token_ms: float
    """From the prompt to the first token: what the encoder takes is a part of it."""
    token_ms: float | None = None
    """One token after the first; None for a run of one token."""
    tokens_per_s: float | None = None
    """The tokens after the first by the time that they took."""
    prompt_tokens: int | None = None
    """None where the model is not fed tokens."""
    read_mb: float | None = None
    """The files of the part that gives each token: its weights are read once a token, in MB of 10^6 bytes."""
    memory_gb_per_s: float | None = None
    """How fast this machine's processor reads memory, in GB of 10^9 bytes; None for weights that its caches may hold.
    """

    def __post_init__(self) -> None:
        bounds.check("a time of generation", (self.first_token_ms, self.token_ms, self.tokens_per_s), above=True)
        bounds.check("a number of tokens or of runs", (self.count, self.tokens, self.prompt_tokens), least=1)
        bounds.check("a size or a rate of memory", (self.read_mb, self.memory_gb_per_s), above=True)

    @property
    def read_gb_per_s(self) -> float | None:
        """The weights that are read in a second of generation."""
        return self.read_mb * self.tokens_per_s / 1e3 if self.read_mb and self.tokens_per_s else None
