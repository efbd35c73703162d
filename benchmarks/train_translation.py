"""Train a small Marian that translates German to English, on a folder with Multi30k (`train.de.gz`, `train.en.gz`,
`val.*.gz`, `test_2016_flickr.*.gz`), and state its BLEU on the test set.

    python benchmarks/train_translation.py DATA OUT [--steps 2600]

It needs sentencepiece and sacrebleu. Weights, batches and dropout are seeded, step by step: a run that was interrupted
goes on from its last checkpoint, `OUT/training.pt`, to the weights that it would have had.
OUT becomes an ordinary folder of transformers with its tokenizer, and `val.csv`, `test.csv` (columns `de` and `en`).
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import random
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import sacrebleu
import sentencepiece
import torch
from transformers import MarianConfig, MarianMTModel, MarianTokenizer

PIECES = 5000
TOKENS = 1600
"""Of the longer side of a batch, padding counted."""
LONGEST = 60
SAVED_EVERY = 200
RATE = 2e-3
WARM_UP = 400
Pair = tuple[list[int], list[int]]


def lines(folder: Path, name: str) -> list[str]:
    return gzip.open(folder / f"{name}.gz", "rt", encoding="utf-8").read().splitlines()


def tokenizer(data: Path, out: Path) -> MarianTokenizer:
    """Return the tokenizer, of one SentencePiece model that both languages share."""
    if not (out / "vocab.json").is_file():
        text = out / "both.txt"
        text.write_text("\n".join(lines(data, "train.de") + lines(data, "train.en")), encoding="utf-8")
        sentencepiece.SentencePieceTrainer.train(
            input=str(text), model_prefix=str(out / "both"), vocab_size=PIECES, minloglevel=2, num_threads=1
        )
        text.unlink()
        (out / "both.vocab").unlink()
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(out / "both.model"))
        vocabulary = {"</s>": 0, "<unk>": 1}
        for number in range(3, pieces.get_piece_size()):
            vocabulary.setdefault(pieces.id_to_piece(number), len(vocabulary))
        vocabulary["<pad>"] = len(vocabulary)
        shutil.copy(out / "both.model", out / "target.spm")
        (out / "both.model").rename(out / "source.spm")
        (out / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    files = [str(out / name) for name in ("source.spm", "target.spm", "vocab.json")]
    return MarianTokenizer(*files, source_lang="de", target_lang="en", model_max_length=128)


def module(size: int) -> MarianMTModel:
    config = MarianConfig(
        vocab_size=size,
        d_model=192,
        encoder_layers=3,
        decoder_layers=2,
        encoder_attention_heads=4,
        decoder_attention_heads=4,
        encoder_ffn_dim=512,
        decoder_ffn_dim=512,
        max_position_embeddings=128,
        activation_function="swish",
        scale_embedding=True,
        dropout=0.1,
        pad_token_id=size - 1,
        decoder_start_token_id=size - 1,
        eos_token_id=0,
        forced_eos_token_id=0,
    )
    model = MarianMTModel(config)
    model.generation_config.update(max_length=64, num_beams=4, bad_words_ids=[[size - 1]])
    return model


def batches(pairs: list[Pair]) -> Iterator[list[Pair]]:
    """Yield batches of pairs of similar length without end, each epoch in another seeded order."""
    epoch = 0
    while True:
        draw = random.Random(epoch)
        order = sorted(pairs, key=lambda pair: max(map(len, pair)) + draw.random())
        groups: list[list[Pair]] = [[]]
        for pair in order:
            if (len(groups[-1]) + 1) * max(map(len, pair)) > TOKENS:
                groups.append([])
            groups[-1].append(pair)
        draw.shuffle(groups)
        yield from groups
        epoch += 1


def padded(rows: list[Pair], side: int, pad: int) -> torch.Tensor:
    return torch.nn.utils.rnn.pad_sequence([torch.tensor(row[side]) for row in rows], True, pad)


def train(model: MarianMTModel, pairs: list[Pair], steps: int, saved: Path) -> None:
    pad, done = model.config.pad_token_id, 0
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    if saved.is_file():
        state = torch.load(saved, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        done = state["step"]
        print(f"continues after step {done}", flush=True)
    began = time.monotonic()
    for step, rows in enumerate(batches(pairs)):
        if step == steps:
            return
        if step < done:
            continue
        torch.manual_seed(step)  # dropout does not depend on where the run was interrupted
        for group in optimizer.param_groups:
            group["lr"] = RATE * min((step + 1) / WARM_UP, (steps - step) / (steps - WARM_UP))
        source, target = padded(rows, 0, pad), padded(rows, 1, pad)
        started = torch.cat([torch.full_like(target[:, :1], pad), target[:, :-1]], dim=1)
        logits = model(input_ids=source, attention_mask=(source != pad).long(), decoder_input_ids=started).logits
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), target.flatten(), ignore_index=pad, label_smoothing=0.1
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        with torch.no_grad():  # Marian starts from an embedding of zeros, which other runtimes rely on
            model.get_input_embeddings().weight[pad] = 0
        if (step + 1) % SAVED_EVERY == 0 or step + 1 == steps:
            print(f"step {step + 1} loss {loss.item():.3f} after {time.monotonic() - began:.0f} s", flush=True)
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step + 1}
            torch.save(state, saved.with_suffix(".new"))
            saved.with_suffix(".new").replace(saved)


def pairs_file(data: Path, name: str, path: Path) -> list[tuple[str, str]]:
    """Write a set of pairs as a table, and return it."""
    pairs = list(zip(*(lines(data, f"{name}.{language}") for language in ("de", "en")), strict=True))
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("de", "en"), *pairs])
    return pairs


def translated(model: MarianMTModel, tokens: MarianTokenizer, texts: list[str], beams: int) -> list[str]:
    found: list[str] = []
    for place in range(0, len(texts), 50):
        batch = tokens(texts[place : place + 50], return_tensors="pt", padding=True)
        with torch.inference_mode():
            found += tokens.batch_decode(model.generate(**batch, num_beams=beams), skip_special_tokens=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2600)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    tokens = tokenizer(options.data, options.out)
    model = module(len(tokens.get_vocab()))
    print(f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} M parameters", flush=True)
    sides = [lines(options.data, f"train.{language}") for language in ("de", "en")]
    ids = [tokens(sides[0])["input_ids"], tokens(text_target=sides[1])["input_ids"]]
    pairs = [pair for pair in zip(*ids, strict=True) if max(map(len, pair)) <= LONGEST]
    model.train()
    train(model, pairs, options.steps, options.out / "training.pt")
    model.eval().save_pretrained(options.out)
    tokens.save_pretrained(options.out)
    pairs_file(options.data, "val", options.out / "val.csv")
    test = pairs_file(options.data, "test_2016_flickr", options.out / "test.csv")
    for beams in (1, 4):
        texts = translated(model, tokens, [source for source, _ in test], beams)
        bleu = sacrebleu.corpus_bleu(texts, [[target for _, target in test]])
        print(f"{beams} beams: {bleu} on {len(test)} sentences", flush=True)


if __name__ == "__main__":
    main()
