"""Train a small wav2vec 2.0 with CTC that reads utterances of several spoken digits, on a folder with the Free Spoken
Digit Dataset (`recordings.tar.gz`), and state its word error rate on the test set.

    python benchmarks/train_speech.py DATA OUT [--steps 2000]

It needs soundfile. Utterances are joined from the clips of one speaker with short pauses; weights, utterances and
batches are seeded. The clips of the official test set (numbers 0 to 4) are in no training utterance.
OUT becomes an ordinary folder of transformers, `OUT/test.csv` and `OUT/calibration.csv` name its wav files and texts.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import tarfile
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
import soundfile
import torch
from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

from edgekit.tasks.edit_distance import distance

WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
RATE = 8000
BATCH = 8
LEARNING_RATE = 1e-3
WARM_UP = 100
TESTED = 200
CALIBRATED = 32
TEST_CLIPS = 5
"""The first clips of each speaker and digit, which are the official test set."""

Clips = dict[str, dict[int, list[np.ndarray]]]
"""By speaker and digit."""


def clips(archive: Path) -> tuple[Clips, Clips]:
    """Return the clips for training and those of the test set."""
    train: Clips = defaultdict(lambda: defaultdict(list))
    test: Clips = defaultdict(lambda: defaultdict(list))
    with tarfile.open(archive) as files:
        for member in sorted(files.getmembers(), key=lambda each: each.name):
            if not member.name.endswith(".wav"):
                continue
            digit, speaker, number = Path(member.name).stem.split("_")
            samples, rate = soundfile.read(io.BytesIO(files.extractfile(member).read()), dtype="float32")
            assert rate == RATE
            part = test if int(number) < TEST_CLIPS else train
            part[speaker][int(digit)].append(samples)
    return train, test


def utterance(source: Clips, draw: random.Random, most: int) -> tuple[np.ndarray, str]:
    """Return some digits of one speaker, joined with pauses of at most a fifth of a second, and their words."""
    speaker = draw.choice(sorted(source))
    digits = [draw.randrange(10) for _ in range(draw.randint(min(2, most), most))]
    parts = []
    for digit in digits:
        parts += [np.zeros(draw.randint(200, RATE // 5), np.float32), draw.choice(source[speaker][digit])]
    parts.append(np.zeros(draw.randint(200, RATE // 5), np.float32))
    noise = np.random.default_rng(draw.getrandbits(32))
    samples = np.concatenate(parts) * np.float32(draw.uniform(0.7, 1.0))
    return (samples + noise.normal(0, 5e-4, len(samples))).astype(np.float32), " ".join(WORDS[each] for each in digits)


def tokenizer(out: Path) -> Wav2Vec2CTCTokenizer:
    """Return a tokenizer whose tokens are the words: ten are learnt sooner than their letters."""
    vocabulary = {token: place for place, token in enumerate(["<pad>", "<unk>", "|", *(f"{word} " for word in WORDS)])}
    (out / "vocab.json").write_text(json.dumps(vocabulary))
    result = Wav2Vec2CTCTokenizer(out / "vocab.json", bos_token=None, eos_token=None, pad_token="<pad>")
    result.save_pretrained(out)
    return result


def module(size: int) -> Wav2Vec2ForCTC:
    config = Wav2Vec2Config(
        vocab_size=size,
        hidden_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        intermediate_size=256,
        conv_dim=(32, 64, 64, 96),
        conv_kernel=(16, 8, 3, 3),
        conv_stride=(8, 4, 2, 2),
        feat_extract_norm="layer",
        do_stable_layer_norm=True,
        num_conv_pos_embeddings=16,
        num_conv_pos_embedding_groups=4,
        hidden_dropout=0.05,
        attention_dropout=0.05,
        activation_dropout=0.05,
        feat_proj_dropout=0.0,
        final_dropout=0.0,
        layerdrop=0.0,
        apply_spec_augment=False,
        ctc_loss_reduction="mean",
        ctc_zero_infinity=True,
        pad_token_id=0,
    )
    return Wav2Vec2ForCTC(config)


def train(model: Wav2Vec2ForCTC, source: Clips, words: Wav2Vec2CTCTokenizer, steps: int) -> None:
    extractor, draw = Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True), random.Random(1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    began, average = time.process_time(), 0.0
    model.train()
    for step in range(steps):
        most = min(3, 1 + step * 6 // steps)
        pairs = [utterance(source, draw, most) for _ in range(BATCH)]
        feeds = extractor([pair[0] for pair in pairs], sampling_rate=RATE, padding=True, return_tensors="pt")
        ids = [torch.tensor(words.convert_tokens_to_ids([f"{word} " for word in pair[1].split()])) for pair in pairs]
        labels = torch.nn.utils.rnn.pad_sequence(ids, True, -100)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * min(1, (step + 1) / WARM_UP) * min(1.0, 2.5 * (1 - step / steps))
        loss = model(**feeds, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average = loss.item() if not step else 0.98 * average + 0.02 * loss.item()
        if step % 200 == 199:
            print(
                f"step {step + 1}  loss {average:.3f}  {time.process_time() - began:.0f} s of the processor", flush=True
            )
    model.eval()


def word_error_rate(model: Wav2Vec2ForCTC, words: Wav2Vec2CTCTokenizer, pairs: list[tuple[np.ndarray, str]]) -> float:
    extractor, errors, count = Wav2Vec2FeatureExtractor(sampling_rate=RATE), 0, 0
    with torch.inference_mode():
        for samples, text in pairs:
            feeds = extractor(samples, sampling_rate=RATE, return_tensors="pt")
            answer = words.decode(model(**feeds).logits[0].argmax(-1))
            errors += distance(answer.split(), text.split())
            count += len(text.split())
    return errors / count


def write(pairs: list[tuple[np.ndarray, str]], out: Path, name: str) -> None:
    folder = out / name
    folder.mkdir(exist_ok=True)
    with (out / f"{name}.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "text"))
        for place, (samples, text) in enumerate(pairs):
            soundfile.write(folder / f"{place:03}.wav", samples, RATE, subtype="PCM_16")
            rows.writerow((f"{name}/{place:03}.wav", text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n\n")[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    source, held_out = clips(options.data / "recordings.tar.gz")
    words = tokenizer(options.out)
    model = module(len(words))
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters", flush=True)
    train(model, source, words, options.steps)
    draw = random.Random(2)
    tests = [utterance(held_out, draw, 5) for _ in range(TESTED)]
    write(tests, options.out, "test")
    write([utterance(source, draw, 5) for _ in range(CALIBRATED)], options.out, "calibration")
    model.save_pretrained(options.out)
    Wav2Vec2FeatureExtractor(sampling_rate=RATE, return_attention_mask=True).save_pretrained(options.out)
    print(f"word error rate of {TESTED} utterances: {word_error_rate(model, words, tests):.2%}")


if __name__ == "__main__":
    main()
