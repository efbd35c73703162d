"""Time a decoder whose states the runtime keeps (`Session.step`) against one whose states are arrays in numpy.

    python benchmarks/states.py [--beams 1 4] [--source 32] [--tokens 100] [--layers 6] [--vocabulary 8000] [--rounds 3]

The model has Marian's shape (512 wide, 8 heads) and random weights. Both ways run the same compiled parts by turns, and
their scores are compared. The bytes are those of the graphs; `peak` is this process's, with both runtimes in it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from edgekit import registry
from edgekit.bench.usage import peak_memory_mb
from edgekit.model import Model, Reference
from edgekit.passes.export.export import Export
from edgekit.plugin import Payload
from edgekit.runner import Program, Runner
from edgekit.sources.torch_module import InMemoryModule
from edgekit.spec import DECODER, ENCODER
from edgekit.target import target

BACKENDS = ("onnxruntime", "openvino")


class InNumpy:
    """A session without `step`: the runner keeps its states as arrays."""

    def __init__(self, session):
        self.run, self.bind, self.profile, self.close = session.run, session.bind, session.profile, session.close
        self.inputs, self.outputs, self.precision = session.inputs, session.outputs, None


def exported(layers: int, vocabulary: int, work: Path) -> Model:
    """Return a random model of Marian's shape as graphs."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    torch.manual_seed(0)
    stack = {"encoder_layers": layers, "decoder_layers": layers, "encoder_ffn_dim": 2048, "decoder_ffn_dim": 2048}
    heads = {"encoder_attention_heads": 8, "decoder_attention_heads": 8, "d_model": 512, "max_position_embeddings": 512}
    ids = {"pad_token_id": vocabulary - 1, "decoder_start_token_id": vocabulary - 1, "eos_token_id": 0}
    module = MarianMTModel(MarianConfig(vocab_size=vocabulary, forced_eos_token_id=0, **stack, **heads, **ids)).eval()
    for name in ("loaded", "model"):
        (work / name).mkdir()
    loaded = InMemoryModule(module).load(Reference("live"), work / "loaded")
    return Export().apply(loaded, None, work / "model")


def built(model: Model, backend: str, work: Path) -> Program:
    payloads = []
    for part in model.parts:
        folder = work / backend / part.name
        folder.mkdir(parents=True)
        compiled = registry.backend(backend).build(model.only(part.name), target.load("host"), {}, folder)
        payloads.append(Payload(folder, compiled.files, compiled.part or part, compiled.options))
    return Program(tuple(payloads), model.states)


def decode(runner: Runner, source: int, beams: int, tokens: int) -> tuple[float, np.ndarray]:
    """Return the milliseconds of a token, of all but the first, and the scores of the last."""
    ids = np.arange(1, source + 1, dtype=np.int64)[None]
    mask = np.ones_like(ids)
    runner.start()(ENCODER, {"input_ids": ids, "attention_mask": mask})
    order = [0] * beams
    for token in range(tokens + 1):
        rows = len(mask)
        outputs = runner.run(DECODER, {"input_ids": np.full((rows, 1), 5), "encoder_attention_mask": mask})
        if beams > 1:
            runner.reorder(order, None if token == 0 else DECODER)
            mask, order = np.ones((beams, source), np.int64), list(range(beams))[::-1]
        if token == 0:
            start = time.perf_counter()
    return (time.perf_counter() - start) * 1e3 / tokens, outputs["logits"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    for name, default in {"source": 32, "tokens": 100, "layers": 6, "vocabulary": 8000, "rounds": 3}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgekit-states-") as folder:
        model = exported(options.layers, options.vocabulary, Path(folder))
        size = sum(path.stat().st_size for path in model.files())
        for backend in BACKENDS:
            program = built(model, backend, Path(folder))
            with program.open(registry.backend(backend)) as kept:
                plain = {name: InNumpy(session) for name, session in kept.sessions.items()}
                in_numpy = Runner(plain, [payload.part for payload in program.payloads], program.states)
                for beams in options.beams:
                    times: dict[str, list[float]] = {"numpy": [], "step": []}
                    for _ in range(options.rounds + 1):  # the first only warms
                        sizes = (options.source, beams, options.tokens)
                        (numpy_ms, expected), (step_ms, scores) = decode(in_numpy, *sizes), decode(kept, *sizes)
                        times["numpy"].append(numpy_ms)
                        times["step"].append(step_ms)
                    row = {"backend": backend, "beams": beams}
                    row |= {f"{way}_ms": round(statistics.median(ms[1:]), 3) for way, ms in times.items()}
                    rows.append({**row, "difference": float(np.abs(scores - expected).max())})
                    print(json.dumps(rows[-1]))
    print(json.dumps({"graphs_bytes": size, "peak_mb": peak_memory_mb(), "options": vars(options)}))


if __name__ == "__main__":
    main()
