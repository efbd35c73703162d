"""Time what edgekit adds to a runtime: `Session.run` and the bound call against the runtime's own API.

    python benchmarks/overhead.py BUNDLE
    python benchmarks/overhead.py model.onnx --backend openvino --size sequence_length=32 [--seconds 5]

All four ways take turns in blocks of 20 ms within one process, on one compiled model and the same inputs, so that only
the wrapping differs. A bundle brings its backend and a sample; an ONNX file is built for this host and fed ones (whole
numbers) or noise (floats).
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from edgekit import registry
from edgekit.bench import Outcome, Round, environment, faster
from edgekit.bundle import bundle as artifact
from edgekit.model import Model, Part
from edgekit.plugin import Payload, Session
from edgekit.spec import SHORT_NAMES, TensorSpec
from edgekit.target import target

BLOCK_NS = 20_000_000
BACKENDS = ("onnxruntime", "openvino")
Feeds = dict[str, np.ndarray]
Way = Callable[[], object]


def raw_onnxruntime(session: Session, feeds: Feeds) -> tuple[Way, Way]:
    """Return onnxruntime's own `run`, and its own `run_with_iobinding` with inputs and outputs bound as ours are."""
    import onnxruntime

    own = session._session
    binding = own.io_binding()
    names = [spec.name for spec in session.outputs]
    outputs = own.run(names, feeds)
    for name, array in feeds.items():
        binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(array))
    for spec, array in zip(session.outputs, outputs, strict=True):
        if spec.is_static:
            place = onnxruntime.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
            binding.bind_ortvalue_output(spec.name, place)
        else:
            binding.bind_output(spec.name)
    return lambda: own.run(names, feeds), lambda: own.run_with_iobinding(binding)


def raw_openvino(session: Session, feeds: Feeds) -> tuple[Way, Way]:
    """Return openvino's own `infer` with inputs, and on tensors set before with outputs shared, as ours are bound."""
    import openvino

    compiled = session._compiled
    request, bound = compiled.create_infer_request(), compiled.create_infer_request()
    for name, array in feeds.items():
        bound.set_tensor(name, openvino.Tensor(array))
    return lambda: request.infer(feeds), lambda: bound.infer(share_outputs=True)


RAW = {"onnxruntime": raw_onnxruntime, "openvino": raw_openvino}


def load_onnx(path: Path, backend: str, sizes: dict[str, int], folder: Path) -> tuple[Payload, Feeds]:
    """Build an ONNX file for this host and make inputs of the given sizes."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    inputs = tuple(_spec(value) for value in graph.input if value.name not in weights)
    outputs = tuple(_spec(value) for value in graph.output)
    model = Model("onnx", (Part("model", path.name, inputs, outputs),), folder=path.parent)
    folder.mkdir()
    here = replace(target.load("host"), shapes=sizes)
    built = registry.backend(backend).build(model, here, {}, folder)
    feeds = {spec.name: _array(spec, sizes) for spec in inputs}
    return Payload(folder, built.files, built.part or model.part, built.options), feeds


def _spec(value) -> TensorSpec:
    import onnx

    kind = value.type.tensor_type
    dtype = SHORT_NAMES[str(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type))]
    shape = tuple(dim.dim_param or dim.dim_value for dim in kind.shape.dim)
    return TensorSpec(value.name, dtype, shape)


def _array(spec: TensorSpec, sizes: dict[str, int]) -> np.ndarray:
    shape = spec.resolve(sizes)
    if spec.dtype.startswith("f"):
        return np.random.default_rng(0).standard_normal(shape).astype(spec.numpy_dtype)
    return np.ones(shape, spec.numpy_dtype)


def measure(ways: dict[str, Way], seconds: float) -> dict[str, Outcome]:
    """Run the ways by turns in blocks and return their latencies; the first turns, half a second, only warm."""
    names = list(ways)
    times: dict[str, list[np.ndarray]] = {name: [] for name in names}
    end = time.monotonic() + seconds + 0.5
    cycle = 0
    while time.monotonic() < end:
        start = cycle % len(names)
        for name in names[start:] + names[:start]:
            block = _block(ways[name])
            if time.monotonic() > end - seconds:
                times[name].append(block)
        cycle += 1
    whole = min(len(blocks) for blocks in times.values())
    return {name: _outcome(name, blocks[-whole:]) for name, blocks in times.items()}


def _block(way: Way) -> np.ndarray:
    clock = time.perf_counter_ns
    way()  # what the last way left in the caches is not this one's cost
    latencies = []
    end = clock() + BLOCK_NS
    now = 0
    while now < end:
        before = clock()
        way()
        now = clock()
        latencies.append(now - before)
    return np.array(latencies, dtype=np.int64)


def _outcome(name: str, blocks: list[np.ndarray]) -> Outcome:
    rounds = tuple(Round(i, len(b), float(b.sum()) / 1e9, float(np.median(b))) for i, b in enumerate(blocks))
    return Outcome(name, None, np.concatenate(blocks), rounds)


def overhead(backend: str, payload: Payload, feeds: Feeds, seconds: float) -> list[dict[str, object]]:
    with closing(registry.backend(backend).open(payload)) as session:
        session.run(feeds)  # checks the feeds
        raw_run, raw_bound = RAW[backend](session, feeds)
        ways: dict[str, Way] = {
            "raw run": raw_run,
            "Session.run": lambda: session.run(feeds),
            "raw bound": raw_bound,
            "bound call": session.bind(feeds),
        }
        outcomes = measure(ways, seconds)
    rows = []
    for name, against in (("Session.run", "raw run"), ("bound call", "raw bound")):
        compared = faster(outcomes[against], outcomes[name])  # its ratio is ours over raw
        ours, raw = (float(np.median(outcomes[key].latencies_ns)) / 1e3 for key in (name, against))
        rows.append(
            {
                "backend": backend,
                "way": name,
                "us": ours,
                "raw_us": raw,
                **_added_us(outcomes[name], outcomes[against]),
                "ratio": compared.ratio,
                "ratio_low": compared.low,
                "ratio_high": compared.high,
                "blocks": compared.pairs,
                "count": len(outcomes[name].latencies_ns),
            }
        )
    return rows


def _added_us(ours: Outcome, raw: Outcome) -> dict[str, float]:
    """Return the median of the differences between neighbouring blocks, with its 95 % bootstrap interval, in
    microseconds.
    """
    medians = [np.array([turn.median_ns for turn in outcome.rounds]) for outcome in (ours, raw)]
    added = (medians[0] - medians[1]) / 1e3
    picks = np.random.default_rng(0).integers(0, len(added), size=(2000, len(added)))
    low, high = np.percentile(np.median(added[picks], axis=1), [2.5, 97.5])
    return {"added_us": float(np.median(added)), "added_low_us": float(low), "added_high_us": float(high)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="a bundle, or an ONNX file")
    parser.add_argument("--backend", choices=BACKENDS, action="append", help="for an ONNX file; both by default")
    parser.add_argument(
        "--size", action="append", default=[], metavar="NAME=N", help="size of a free dimension; 1 if not given"
    )
    parser.add_argument("--seconds", type=float, default=5.0, help="for each backend")
    parser.add_argument("--output", type=Path, help="write the result as JSON here")
    arguments = parser.parse_args()
    sizes = {name: int(value) for name, _, value in (text.partition("=") for text in arguments.size)}
    rows = []
    with ExitStack() as stack:
        if arguments.model.is_dir():
            bundle = artifact.open(arguments.model)
            todo = [(bundle.manifest.backend, bundle.payload, bundle.samples()[0][0])]
        else:
            work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-overhead-")))
            names = arguments.backend or BACKENDS
            todo = [(name, *load_onnx(arguments.model, name, sizes, work / name)) for name in names]
        for backend, payload, feeds in todo:
            rows += overhead(backend, payload, feeds, arguments.seconds)
    print(f"{'backend':<14}{'way':<14}{'us':>9}{'raw us':>9}  {'added us (95 % interval)':<28}ratio (95 % interval)")
    for row in rows:
        added = f"{row['added_us']:.1f} ({row['added_low_us']:.1f} to {row['added_high_us']:.1f})"
        ratio = f"{row['ratio']:.3f} ({row['ratio_low']:.3f} to {row['ratio_high']:.3f})"
        print(f"{row['backend']:<14}{row['way']:<14}{row['us']:>9.1f}{row['raw_us']:>9.1f}  {added:<28}{ratio}")
    if arguments.output:
        result = {
            "model": arguments.model.name,
            "sizes": sizes,
            "rows": rows,
            "environment": environment(BACKENDS).to_dict(),
        }
        arguments.output.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
