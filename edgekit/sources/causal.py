"""Language models of transformers that continue a text: which are exported with a cache, and the original."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from edgekit.errors import BuildError
from edgekit.frameworks.torch_model import first_line, limited_threads, to_torch
from edgekit.spec import DECODER, TensorSpec

if TYPE_CHECKING:
    import numpy as np

TASK = "text-generation"


@dataclass
class CausalOriginal:
    """Run the torch module with a cache of its own, and return the scores of the last token."""

    module: Any
    framework: str
    _cache: Any = field(default=None, repr=False)

    def start(self) -> None:
        self._cache = None

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Run the model on the tokens that follow those of the calls before."""
        return self.run_part(DECODER, feeds)

    def run_part(self, part: str, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return the scores. Raises BuildError with the message of the module's own exception."""
        tensors = to_torch(feeds)
        accepted = inspect.signature(self.module.forward).parameters
        try:
            with torch.inference_mode(), limited_threads(self.module):
                outputs = self.module(
                    **{name: tensor for name, tensor in tensors.items() if name in accepted},
                    past_key_values=self._cache,
                    use_cache=True,
                )
        except Exception as error:  # the model's own code can raise anything
            raise BuildError(f"the original model does not run: {first_line(error)}") from error
        self._cache = outputs.past_key_values
        return {"logits": outputs.logits[:, -1:].float().cpu().numpy()}


def inputs(config: Any) -> tuple[TensorSpec, ...]:
    """Return the inputs that are fed, of optimum's config with a cache."""
    return tuple(
        TensorSpec(name, "i64", tuple(sizes.values()))
        for name, sizes in config.inputs.items()
        if "past_key" not in name
    )
