"""A contender of `clocks.py` in a process of its own: reads seconds, runs for so long, writes its p50 and p90 as JSON.

clocks_child.py bare-onnxruntime|bare-openvino|loadgen BUNDLE
"""

from __future__ import annotations

import json
import math
import re
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from edgekit.bundle import bundle as artifact

Percentiles = dict[str, float]
LEAD_IN_S = 0.02


def bare_onnxruntime(bundle: artifact.Bundle) -> Callable[[], object]:
    """Return onnxruntime's own bound run, with edgekit's session options."""
    import numpy as np
    import onnxruntime as ort

    options = bundle.payload.options
    settings = ort.SessionOptions()
    with bundle.session() as session:
        settings.intra_op_num_threads = session.threads
    settings.inter_op_num_threads = 1
    settings.add_session_config_entry(
        "session.intra_op.allow_spinning", "1" if options.get("allow_spinning", True) else "0"
    )
    session = ort.InferenceSession(str(bundle.payload.main), settings, providers=["CPUExecutionProvider"])
    feeds = bundle.samples()[0][0]
    binding = session.io_binding()
    held = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(array)) for array in feeds.values()]
    for name, value in zip(feeds, held, strict=True):
        binding.bind_ortvalue_input(name, value)
    for output, array in zip(session.get_outputs(), session.run(None, feeds), strict=True):
        place = ort.OrtValue.ortvalue_from_shape_and_type(list(array.shape), array.dtype.type)
        binding.bind_ortvalue_output(output.name, place)
    call = session.run_with_iobinding
    return lambda: (call(binding), held)


def bare_openvino(bundle: artifact.Bundle) -> Callable[[], object]:
    """Return OpenVINO's own synchronous inference on tensors set before, with edgekit's properties."""
    import openvino

    with bundle.session() as session:
        threads = session.threads
    model = openvino.Core().read_model(str(bundle.payload.main))
    precision = bundle.payload.options.get("inference_precision") or "f32"
    settings = {
        "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1, "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision, "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }  # fmt: skip
    request = openvino.Core().compile_model(model, "CPU", settings).create_infer_request()
    for name, array in bundle.samples()[0][0].items():
        request.set_tensor(name, openvino.Tensor(array))
    return lambda: request.infer(share_outputs=True)


def loop(call: Callable[[], object], seconds: float) -> Percentiles:
    """Time call after call; percentiles by nearest rank."""
    clock, latencies = time.perf_counter_ns, []
    end = clock() + int(LEAD_IN_S * 1e9)
    while clock() < end:
        call()
    end, now = clock() + int(seconds * 1e9), 0
    while now < end:
        before = clock()
        call()
        now = clock()
        latencies.append(now - before)
    latencies.sort()
    ranked = {
        name: latencies[math.ceil(share * len(latencies)) - 1] / 1e6 for name, share in (("p50", 0.5), ("p90", 0.9))
    }
    return {**ranked, "count": len(latencies)}


def loadgen(call: Callable[[], object], seconds: float) -> Percentiles:
    """Have MLPerf's LoadGen call it, one query after the other, and read its summary."""
    import mlperf_loadgen as lg

    def issue(samples: list[lg.QuerySample]) -> None:
        for sample in samples:
            call()
            lg.QuerySamplesComplete([lg.QuerySampleResponse(sample.id, 0, 0)])

    end = time.perf_counter() + LEAD_IN_S
    while time.perf_counter() < end:
        call()
    settings = lg.TestSettings()
    settings.scenario, settings.mode = lg.TestScenario.SingleStream, lg.TestMode.PerformanceOnly
    settings.min_duration_ms, settings.min_query_count = int(1000 * seconds), 64
    with tempfile.TemporaryDirectory(prefix="edgekit-loadgen-") as folder:
        logs = lg.LogSettings()
        logs.log_output.outdir = folder
        logs.log_output.copy_summary_to_stdout = False
        logs.enable_trace = False
        sut, qsl = lg.ConstructSUT(issue, lambda: None), lg.ConstructQSL(1, 1, lambda _: None, lambda _: None)
        lg.StartTestWithLogSettings(sut, qsl, settings, logs, "")
        lg.DestroyQSL(qsl)
        lg.DestroySUT(sut)
        summary = (Path(folder) / "mlperf_log_summary.txt").read_text()
    percentiles = {}
    for name in ("p50", "p90"):
        match = re.search(rf"{name[1:]}\.00 percentile latency \(ns\)\s*:\s*(\d+)", summary)
        if match is None:
            raise SystemExit(f"LoadGen does not report {name}:\n{summary}")
        percentiles[name] = int(match[1]) / 1e6
    queries = re.search(r"Processed at least \d+ queries \((\d+)\)", summary)
    return {**percentiles, "count": float(queries[1]) if queries else 0.0}


def main() -> None:
    role, path = sys.argv[1], Path(sys.argv[2])
    bundle = artifact.open(path)
    if role == "loadgen":
        session = bundle.session()
        call: Callable[[], object] = session.bind(bundle.samples()[0][0])
        turn = loadgen
    else:
        call, turn = {"bare-onnxruntime": bare_onnxruntime, "bare-openvino": bare_openvino}[role](bundle), loop
    for line in sys.stdin:
        print(json.dumps(turn(call, float(line))), flush=True)


if __name__ == "__main__":
    main()
