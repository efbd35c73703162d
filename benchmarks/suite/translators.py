"""A process that translates, one text at a time, by one tool: `translators.py KIND MODEL THREADS`, in its environment.

It answers each line of stdin, `{"texts": [...], "beams": 4}`, with a line `{"texts": [...], "ms": [...]}`; each time is
from the text to the translated text. The first line that it writes has the versions of its packages.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

LONGEST = 64
Translate = Callable[[str, int], str]


def torch_eager(folder: Path, threads: int) -> Translate:
    import torch
    from transformers import MarianMTModel, MarianTokenizer

    torch.set_num_threads(threads)
    tokens, model = MarianTokenizer.from_pretrained(folder), MarianMTModel.from_pretrained(folder).eval()

    def translate(text: str, beams: int) -> str:
        with torch.inference_mode():
            ids = model.generate(**tokens(text, return_tensors="pt"), num_beams=beams)
        return tokens.decode(ids[0], skip_special_tokens=True)

    return translate


def optimum_onnx(folder: Path, threads: int) -> Translate:
    import onnxruntime
    from optimum.onnxruntime import ORTModelForSeq2SeqLM
    from transformers import MarianTokenizer

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    tokens = MarianTokenizer.from_pretrained(folder)
    model = ORTModelForSeq2SeqLM.from_pretrained(folder, session_options=options, use_io_binding=True)
    return _by_generate(model, tokens)


def optimum_intel(folder: Path, threads: int, **settings: str) -> Translate:
    from optimum.intel import OVModelForSeq2SeqLM
    from transformers import MarianTokenizer

    config = {"INFERENCE_NUM_THREADS": str(threads), "PERFORMANCE_HINT": "LATENCY", **settings}
    tokens = MarianTokenizer.from_pretrained(folder)
    return _by_generate(OVModelForSeq2SeqLM.from_pretrained(folder, ov_config=config), tokens)


def optimum_intel_f32(folder: Path, threads: int) -> Translate:
    return optimum_intel(folder, threads, INFERENCE_PRECISION_HINT="f32")


def ctranslate2(folder: Path, threads: int) -> Translate:
    import ctranslate2 as library
    from transformers import MarianTokenizer

    tokens = MarianTokenizer.from_pretrained(folder)
    translator = library.Translator(str(folder), device="cpu", inter_threads=1, intra_threads=threads)

    def translate(text: str, beams: int) -> str:
        pieces = tokens.convert_ids_to_tokens(tokens.encode(text))
        (result,) = translator.translate_batch([pieces], beam_size=beams, max_decoding_length=LONGEST)
        return tokens.decode(tokens.convert_tokens_to_ids(result.hypotheses[0]), skip_special_tokens=True)

    return translate


def edgekit(folder: Path, threads: int) -> Translate:
    import edgekit as library

    predictor = library.open(folder).predictor()  # it runs on as many threads as it was exported for: all
    return lambda text, beams: predictor.predict(text, beams=beams)["translation"]


def _by_generate(model, tokens) -> Translate:
    def translate(text: str, beams: int) -> str:
        ids = model.generate(**tokens(text, return_tensors="pt"), num_beams=beams)
        return tokens.decode(ids[0], skip_special_tokens=True)

    return translate


def convert_onnx(model: Path, out: Path) -> None:
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    _save(ORTModelForSeq2SeqLM.from_pretrained(model, export=True), model, out)


def convert_openvino(model: Path, out: Path) -> None:
    from optimum.intel import OVModelForSeq2SeqLM

    _save(OVModelForSeq2SeqLM.from_pretrained(model, export=True, load_in_8bit=False, compile=False), model, out)


def convert_ctranslate2(model: Path, out: Path, quantization: str = "float32") -> None:
    from ctranslate2.converters import TransformersConverter
    from transformers import MarianTokenizer

    TransformersConverter(str(model)).convert(str(out), quantization=quantization, force=True)
    MarianTokenizer.from_pretrained(model).save_pretrained(out)


def convert_ctranslate2_int8(model: Path, out: Path) -> None:
    convert_ctranslate2(model, out, "int8")


def _save(model, folder: Path, out: Path) -> None:
    from transformers import MarianTokenizer

    model.save_pretrained(out)
    MarianTokenizer.from_pretrained(folder).save_pretrained(out)


def versions(names: list[str]) -> dict[str, str]:
    installed = {}
    for name in names:
        try:
            installed[name] = version(name)
        except PackageNotFoundError:
            continue
    return installed


def serve(kind: str, folder: str, threads: str, *packages: str) -> None:
    # What a library prints goes to stderr: the answers have stdout for themselves.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    translate: Translate = globals()[kind](Path(folder), int(threads))
    print(json.dumps({"versions": versions(list(packages))}), file=answers, flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        texts, times = [], []
        for text in asked["texts"]:
            began = time.perf_counter_ns()
            texts.append(translate(text, asked["beams"]).strip())
            times.append((time.perf_counter_ns() - began) / 1e6)
        print(json.dumps({"texts": texts, "ms": times}), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1].startswith("convert"):
        globals()[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
    else:
        serve(*sys.argv[1:])
