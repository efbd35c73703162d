"""A process that continues ids with one tool: `generators.py KIND FOLDER THREADS PROMPT NEW RUNS`, in its environment.

It writes one line of JSON: the versions of its packages, for each run the milliseconds to the first token and of each
token after it, the ids, and the greatest memory of the process. `generators.py convert_... CHECKPOINT OUT` converts.
"""

from __future__ import annotations

import itertools
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    *("edgekit", "torch", "transformers", "optimum", "optimum-onnx", "optimum-intel", "onnxruntime", "openvino"),
    *("onnxruntime-genai", "openvino-genai", "llama-cpp-python", "gguf"),
)
Continue = Callable[[list[int], int], Iterator[int]]
"""From a prompt and a number of new tokens to these, one by one."""

LAYERS, WIDTH, INNER, HEADS, GROUPS, VOCABULARY, CONTEXT = 32, 1024, 2816, 16, 8, 32_000, 2048


def make_checkpoint(out: Path) -> None:
    """Write a Llama of 0.41 B random weights in fp32."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=WIDTH,
        intermediate_size=INNER,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=GROUPS,
        max_position_embeddings=CONTEXT,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(out)


def torch_eager(folder: Path, threads: int) -> Continue:
    import torch
    from transformers import AutoModelForCausalLM

    torch.set_num_threads(threads)
    return _by_generate(AutoModelForCausalLM.from_pretrained(folder).eval())


def optimum_onnx(folder: Path, threads: int) -> Continue:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForCausalLM

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return _by_generate(ORTModelForCausalLM.from_pretrained(folder, session_options=options, use_io_binding=True))


def _by_generate(model: Any) -> Continue:
    """Run `generate` to its end, with the time of each token from its streamer."""
    import torch

    def continued(prompt: list[int], new: int) -> Iterator[int]:
        stream = _Stream()
        ids = torch.tensor([prompt])
        settings = {"do_sample": False, "max_new_tokens": new, "min_new_tokens": new, "eos_token_id": None}
        with torch.inference_mode():
            model.generate(ids, attention_mask=torch.ones_like(ids), streamer=stream, pad_token_id=0, **settings)
        yield from stream.tokens

    return continued


class _Stream:
    """What `generate` gives each token to; the first that it gives is the prompt."""

    def __init__(self) -> None:
        self.tokens: list[tuple[int, int]] = []
        self.began = False

    def put(self, value: Any) -> None:
        if self.began:
            self.tokens.append((int(value.reshape(-1)[-1]), time.perf_counter_ns()))
        self.began = True

    def end(self) -> None:
        pass


def openvino_genai(folder: Path, threads: int, **settings: str) -> Continue:
    import numpy as np
    import openvino as ov
    import openvino_genai as library

    config = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", **settings}
    pipe = library.LLMPipeline(str(folder), "CPU", **config)

    def continued(prompt: list[int], new: int) -> Iterator[int]:
        times: list[tuple[int, int]] = []

        class Streamer(library.StreamerBase):
            def write(self, token: Any) -> Any:
                for each in token if isinstance(token, list) else [token]:
                    times.append((int(each), time.perf_counter_ns()))
                return library.StreamingStatus.RUNNING

            def end(self) -> None:
                pass

        asked = library.GenerationConfig(max_new_tokens=new, min_new_tokens=new, do_sample=False, ignore_eos=True)
        ids = ov.Tensor(np.array([prompt], np.int64))
        mask = ov.Tensor(np.ones((1, len(prompt)), np.int64))
        pipe.generate(library.TokenizedInputs(ids, mask), asked, Streamer())
        yield from times

    return continued


def openvino_genai_f32(folder: Path, threads: int) -> Continue:
    return openvino_genai(folder, threads, INFERENCE_PRECISION_HINT="f32", KV_CACHE_PRECISION="f32")


def onnxruntime_genai(folder: Path, threads: int) -> Continue:
    import onnxruntime_genai as library

    (place,) = {path.parent for path in folder.rglob("genai_config.json")}
    model = library.Model(str(place))

    def continued(prompt: list[int], new: int) -> Iterator[int]:
        params = library.GeneratorParams(model)
        params.set_search_options(max_length=len(prompt) + new, min_length=len(prompt) + new, do_sample=False)
        generator = library.Generator(model, params)
        generator.append_tokens(prompt)
        for _ in range(new):
            generator.generate_next_token()
            yield int(generator.get_next_tokens()[0])

    return continued


def llama_cpp(folder: Path, threads: int) -> Continue:
    import llama_cpp as library
    import numpy as np

    (file,) = folder.glob("*.gguf")
    model = library.Llama(str(file), n_ctx=512, n_threads=threads, n_threads_batch=threads, verbose=False)

    def continued(prompt: list[int], new: int) -> Iterator[int]:
        model.reset()
        ids = list(prompt)
        for _ in range(new):
            model.eval(ids)
            scores = library.llama_get_logits_ith(model.ctx, -1)
            ids = [int(np.ctypeslib.as_array(scores, (VOCABULARY,)).argmax())]
            yield ids[0]

    return continued


def edgekit(folder: Path, threads: int) -> Continue:
    from dataclasses import replace

    import numpy as np

    import edgekit as library
    from edgekit.data import Sample

    bundle = library.open(folder)
    task, runner = bundle.task(), bundle.runner().__enter__()

    def continued(prompt: list[int], new: int) -> Iterator[int]:
        settings = replace(task.generation, max_new=new, stops=())
        asked = replace(task, config=replace(task.config, generation=settings))
        yield from asked.stream(Sample({"input_ids": np.array([prompt])}), runner)

    return continued


def convert_onnx(model: Path, out: Path) -> None:
    from optimum.onnxruntime import ORTModelForCausalLM

    ORTModelForCausalLM.from_pretrained(model, export=True).save_pretrained(out)


def convert_openvino(model: Path, out: Path, bits: int | None = None) -> None:
    from optimum.intel import OVModelForCausalLM, OVWeightQuantizationConfig

    config = None if bits is None else OVWeightQuantizationConfig(bits=bits)
    given: dict[str, Any] = {"load_in_8bit": False} if bits is None else {"quantization_config": config}
    OVModelForCausalLM.from_pretrained(model, export=True, compile=False, stateful=True, **given).save_pretrained(out)


def convert_openvino_int8(model: Path, out: Path) -> None:
    convert_openvino(model, out, 8)


def convert_openvino_int4(model: Path, out: Path) -> None:
    convert_openvino(model, out, 4)


def convert_llama(model: Path, out: Path, kind: str = "F32") -> None:
    """Write a GGUF file without a tokenizer, with the names and the order of rows of llama.cpp's converter."""
    import gguf
    import numpy as np
    from safetensors import safe_open

    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    config = json.loads((model / "config.json").read_text())
    writer = gguf.GGUFWriter(out / f"{kind}.gguf", "llama")
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_block_count(LAYERS)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(GROUPS)
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_dimension_count(WIDTH // HEADS)
    writer.add_rope_freq_base(config["rope_theta"])
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("none")
    quantized = getattr(gguf.GGMLQuantizationType, kind)
    with safe_open(model / "model.safetensors", "np") as file:
        for name in file.keys():  # noqa: SIM118  # it is no dict
            array, short = file.get_tensor(name), name.removeprefix("model.").removesuffix(".weight")
            if short.startswith("layers."):
                _, layer, rest = short.split(".", 2)
                if rest in ("self_attn.q_proj", "self_attn.k_proj"):  # llama.cpp turns neighbours
                    heads = HEADS if "q_proj" in rest else GROUPS
                    array = array.reshape(heads, 2, -1, array.shape[1]).swapaxes(1, 2).reshape(array.shape)
                short = f"blk.{layer}.{names[rest]}"
            short = {"embed_tokens": "token_embd", "norm": "output_norm"}.get(short, short)
            if array.ndim == 1 or kind == "F32":
                writer.add_tensor(f"{short}.weight", np.ascontiguousarray(array))
            else:
                writer.add_tensor(f"{short}.weight", gguf.quants.quantize(array, quantized), raw_dtype=quantized)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def convert_llama_q8(model: Path, out: Path) -> None:
    convert_llama(model, out, "Q8_0")


def convert_llama_q4(model: Path, out: Path) -> None:
    convert_llama(model, out, "Q4_0")


def versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def measure(kind: str, folder: str, threads: str, prompt: str, new: str, runs: str) -> None:
    answers = os.fdopen(os.dup(1), "w")  # what a library prints goes to stderr
    os.dup2(2, 1)
    continued: Continue = globals()[kind](Path(folder), int(threads))
    ids = [(7919 * place) % (VOCABULARY - 10) + 5 for place in range(int(prompt))]
    list(continued(ids, 3))  # to warm up
    rows = []
    for _ in range(int(runs)):
        stamps, tokens = [time.perf_counter_ns()], []
        for each in continued(ids, int(new)):
            token, stamp = each if isinstance(each, tuple) else (each, time.perf_counter_ns())
            stamps.append(stamp)
            tokens.append(token)
        gaps = [(later - earlier) / 1e6 for earlier, later in itertools.pairwise(stamps)]
        rows.append({"first_ms": gaps[0], "token_ms": gaps[1:], "ids": tokens})
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    print(json.dumps({"versions": versions(), "runs": rows, "peak_mb": peak}), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1].startswith(("convert", "make")):
        globals()[sys.argv[1]](*map(Path, sys.argv[2:]))
    else:
        measure(*sys.argv[1:])
