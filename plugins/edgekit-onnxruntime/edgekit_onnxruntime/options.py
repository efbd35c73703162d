"""The options of ONNX Runtime. Precision is not one of them: it is in the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from edgekit.errors import UsageError
from edgekit.plugin import Record

CPU = "CPUExecutionProvider"

GENAI = "onnxruntime-genai"
"""The format of models for the generation engine of that name."""
GENAI_CONFIG = "genai_config.json"
GENAI_FILES = (GENAI_CONFIG, "model.onnx", "model.onnx.data")
GENAI_RELEASE = "0.18"
IDS, LOGITS, KNOWN = "input_ids", "logits", "known"
"""Its input, its output, and its state: the ids that it has read."""

MOST_THREADS = 1024
"""More than any board has processors; a runtime starts as many as it is asked for, and a hundred thousand never end."""


@dataclass(frozen=True)
class Options(Record):
    """Runtime options; an unknown key in a target or recipe is an error."""

    threads: int | None = None
    """Threads within an operator; None: as many as the processors that the opening process may use."""
    allow_spinning: bool = True
    """Let idle threads spin: False saves power and costs 5 to 42 % of latency."""
    graph_level: Literal["disabled", "basic", "extended", "all"] = "all"
    accuracy_level: Literal[1, 4] = 4
    """How products with packed weights are computed: 4 rounds activations to int8 in blocks, 1 leaves them in f32. The
    build sets 1 for a model whose recipe asks for exact activations."""
    provider: str = CPU
    """The execution provider that must come first; where it does not, opening fails and does not fall back."""
    provider_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.threads is not None and not 1 <= self.threads <= MOST_THREADS:
            raise UsageError(
                f"onnxruntime: 'threads' must be at least 1 and at most {MOST_THREADS}, not {str(self.threads)[:20]}.",
                hint="leave 'threads' out of the target to use every core",
            )
        if not self.provider.endswith("ExecutionProvider"):
            raise UsageError(
                f"onnxruntime: '{self.provider}' is not the name of an execution provider.",
                hint=f"the default is {CPU}",
            )
