"""Call NNCF, without output and telemetry, on samples that are prepared one at a time. Only this module imports it."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.errors import BuildError, EdgekitError, EnvironmentFault
from edgekit.frameworks.quiet import quiet
from edgekit.plugin import Feeds, TensorSpec, check_feeds, no_telemetry
from edgekit_openvino.options import TELEMETRY

if TYPE_CHECKING:
    import numpy as np

    from edgekit_openvino.nncf_config import NncfConfig


def quantize(
    model: Any,
    config: NncfConfig,
    samples: Feeds,
    inputs: Sequence[TensorSpec],
    ignored: Sequence[str],
    *,
    transformer: bool,
    folded: bool,
) -> Any:
    """Return the openvino.Model with FakeQuantize nodes; where `folded`, its weights are int8 constants.

    `ignored` are friendly names. Raises what the samples raise, BuildError where NNCF fails or ranges are not finite.
    """
    with _silent_nncf() as nncf:
        try:
            quantized = nncf.quantize(
                model,
                nncf.Dataset(_CheckedFeeds(samples, inputs)),
                preset=nncf.QuantizationPreset(config.preset) if config.preset else None,
                target_device=nncf.TargetDevice[config.device],
                subset_size=len(samples),
                fast_bias_correction=config.bias_correction != "thorough",
                model_type=nncf.ModelType.TRANSFORMER if transformer else None,
                ignored_scope=nncf.IgnoredScope(names=list(ignored)),
                advanced_parameters=_advanced(nncf, config, folded),
            )
        except EdgekitError:
            raise
        except Exception as error:  # NNCF's exceptions have no common base class
            raise BuildError(
                f"NNCF cannot quantize the model: {type(error).__name__}: {_first_line(error)}.",
                hint="use the recipe int8-static, which does not use NNCF",
            ) from error
    _refuse_non_finite(quantized)
    return quantized


class _CheckedFeeds:
    """Iterate over feeds and check each: NNCF treats a range with NaN as one of width 0."""

    def __init__(self, samples: Feeds, inputs: Sequence[TensorSpec]) -> None:
        self._samples = samples
        self._inputs = inputs

    def __len__(self) -> int:
        return len(self._samples)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        import numpy as np

        for number, feed in enumerate(self._samples):
            check_feeds(self._inputs, feed)
            for name, array in feed.items():
                if array.dtype.kind == "f" and not np.isfinite(array).all():
                    raise BuildError(f"calibration sample {number} gives '{name}' {_NOT_FINITE}.", hint=_FINITE)
            yield {spec.name: feed[spec.name] for spec in self._inputs}


_NOT_FINITE = "a value that is not finite"
_FINITE = "check the samples' preprocessing, and the model in fp32 with `--recipe fp32`"


def _advanced(nncf: Any, config: NncfConfig, folded: bool) -> Any:
    from nncf.quantization.range_estimator import RangeEstimatorParametersSet

    advanced = nncf.AdvancedQuantizationParameters(
        # Without VNNI the products of all layers saturate; NNCF's default corrects the first layers only.
        overflow_fix=nncf.OverflowFix.ENABLE if config.reduce_range else nncf.OverflowFix.DISABLE,
        disable_bias_correction=config.bias_correction == "none",
        backend_params={"compress_weights": folded},
    )
    if config.ranges == "minmax":
        advanced.activations_range_estimator_params = RangeEstimatorParametersSet.MINMAX
    if config.smoothing is not None:
        advanced.smooth_quant_alphas.matmul = config.smoothing
    return advanced


@contextlib.contextmanager
def _silent_nncf() -> Iterator[Any]:
    """Yield nncf, whose progress bars and log lines are kept off stdout, where the command's JSON goes."""
    stdout, first_import = sys.stdout, "nncf" not in sys.modules
    with quiet():
        nncf = _import_nncf()
        logger = logging.getLogger("nncf")
        for handler in logger.handlers if first_import else ():
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stdout)  # other code may use nncf too, and its import took the redirected stdout
        disabled, logger.disabled = logger.disabled, True
        try:
            yield nncf
        finally:
            logger.disabled = disabled


def _import_nncf() -> Any:
    """Import nncf and leave logging unchanged: at import it installs its own class for all later loggers."""
    no_telemetry(TELEMETRY)
    logger_class = logging.getLoggerClass()
    try:
        import nncf
    except Exception as error:  # a broken build raises more than ImportError
        raise EnvironmentFault(
            f"the pass 'nncf' needs the package nncf, which cannot be imported: {error}.",
            hint="pip install 'edgekit-openvino[build]'",
        ) from error
    finally:
        logging.setLoggerClass(logger_class)
    return nncf


def _refuse_non_finite(model: Any) -> None:
    import numpy as np

    for node in model.get_ops():
        if node.get_type_name() != "FakeQuantize":
            continue
        limits = [node.input_value(index).get_node() for index in range(1, 5)]
        if any(limit.get_type_name() == "Constant" and not np.isfinite(limit.get_data()).all() for limit in limits):
            producer = node.input_value(0).get_node().get_friendly_name()
            raise BuildError(f"the calibration samples give '{producer}' {_NOT_FINITE}.", hint=_FINITE)


def _first_line(error: Exception) -> str:
    return next((line.strip().rstrip(".") for line in str(error).splitlines() if line.strip()), "no reason given")
