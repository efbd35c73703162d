"""What a benchmark of a bundle runs: a stored sample, a batch of them, or as long a text as asked."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit import bench
from edgekit.bundle.bundle import Bundle
from edgekit.errors import ArtifactError, UnsupportedError
from edgekit.runner import Fed
from edgekit.spec import Call


def feeds(bundle: Bundle, workload: bench.Workload) -> tuple[Fed, int]:
    """Return what to run, from the stored samples, and the number of samples in it."""
    traces = bundle.traces()
    if not traces:
        raise ArtifactError(
            f"the bundle '{bundle.path}' has no stored samples to run.",
            hint="export it again with --samples synthetic, or a number"
            if bundle.program.is_single
            else "export it again with --samples 4",
        )
    if bundle.program.is_single:
        stored = [call.feeds for trace in traces for call in trace]
        return workload.feeds(stored, bundle.program.inputs, str(bundle.path))
    if workload.batch is not None and workload.batch > 1:
        raise UnsupportedError(
            f"the bundle '{bundle.path}' runs the calls of one sample at a time.", hint="leave out --batch"
        )
    trace = [(call.part, call.feeds) for call in traces[0]]
    if workload.prompt_tokens is None and workload.new_tokens is None:
        return trace, 1
    return _of_lengths(bundle, trace, workload), 1


def _of_lengths(bundle: Bundle, trace: Sequence[Call], workload: bench.Workload) -> Sequence[Call]:
    """Return the calls of a prompt and of new tokens as long as asked, of a stored sample's tokens."""
    from edgekit.tasks.causal import TextGeneration

    task = bundle.task()
    if not isinstance(task, TextGeneration):
        raise UnsupportedError(
            f"the bundle '{bundle.path}' does not continue a text, so its calls are those of its sample.",
            hint="leave out --prompt-tokens and --new-tokens",
        )
    return task.calls(trace, workload.prompt_tokens, workload.new_tokens)
