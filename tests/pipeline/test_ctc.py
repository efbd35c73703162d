"""Speech recognition by CTC, from a small random wav2vec 2.0 and wav files to a bundle that answers."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli

torch = pytest.importorskip("torch")
soundfile = pytest.importorskip("soundfile")


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    from transformers import Wav2Vec2Config, Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    folder = tmp_path_factory.mktemp("ctc")
    (folder / "vocab.json").write_text(json.dumps({"<pad>": 0, "<unk>": 1, "|": 2, "o": 3, "n": 4, "e": 5}))
    Wav2Vec2CTCTokenizer(folder / "vocab.json", bos_token=None, eos_token=None, pad_token="<pad>").save_pretrained(
        folder
    )
    Wav2Vec2FeatureExtractor(sampling_rate=8000).save_pretrained(folder)
    torch.manual_seed(0)
    module = Wav2Vec2ForCTC(
        Wav2Vec2Config(
            vocab_size=6,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            conv_dim=(16, 16),
            conv_kernel=(10, 8),
            conv_stride=(10, 8),
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            feat_extract_norm="layer",
            do_stable_layer_norm=True,
            pad_token_id=0,
        )
    )
    torch.nn.init.normal_(module.lm_head.weight)
    module.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sounds")
    draw = np.random.default_rng(0)
    with (folder / "data.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("path", "text"))
        for number in range(6):
            times = np.arange(4000 + 700 * number) / 8000
            sound = np.sin(2 * np.pi * 200 * (number + 1) * times**1.5) * 0.5 + draw.normal(0, 0.01, len(times))
            soundfile.write(folder / f"{number}.wav", sound, 8000)
            rows.writerow((f"{number}.wav", "one one" if number % 2 else "no"))
    return folder


@pytest.fixture(scope="module")
def shipped(checkpoint, sounds, tmp_path_factory):
    return edgekit.export(
        str(checkpoint),
        data=str(sounds / "data.csv"),
        candidates=["onnxruntime/fp32"],
        bench=False,
        output=str(tmp_path_factory.mktemp("out") / "bundle"),
    )


def test_the_bundle_writes_what_transformers_does(shipped, checkpoint, sounds):
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC

    quality = shipped.report.shipped.quality
    assert shipped.report.task == "automatic-speech-recognition" and quality.metric == "wer"
    assert quality.score == quality.original_score
    module = Wav2Vec2ForCTC.from_pretrained(checkpoint).eval()
    words, extractor = (kind.from_pretrained(checkpoint) for kind in (Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor))
    texts = set()
    with shipped.bundle.predictor() as predictor, torch.inference_mode():
        for number in range(6):
            samples, rate = soundfile.read(sounds / f"{number}.wav", dtype="float32")
            feeds = extractor(samples, sampling_rate=rate, return_tensors="pt")
            text = predictor.predict(sounds / f"{number}.wav")["text"]
            assert text == words.decode(module(**feeds).logits[0].argmax(-1)).strip()
            texts.add(text)
    assert len(texts) > 2, "the answer depends on the sound"


def test_sounds_are_answered_on_the_command_line(shipped, sounds, tmp_path):
    path = str(shipped.bundle.path)
    answer = CliRunner().invoke(cli, ["run", path, str(sounds / "0.wav"), "--json"])
    assert answer.exit_code == 0 and json.loads(answer.output)["answer"]["text"]
    folder = CliRunner().invoke(cli, ["run", path, str(sounds)])
    assert folder.exit_code == 0 and len(folder.stdout.strip().splitlines()) == 6
    soundfile.write(tmp_path / "long.wav", np.random.default_rng(1).normal(0, 0.1, 8000 * 70), 8000)
    long = CliRunner().invoke(cli, ["run", path, str(tmp_path / "long.wav"), "--json"])
    assert long.exit_code == 0 and json.loads(long.output)["answer"]["text"]
    (tmp_path / "broken.wav").write_bytes(b"RIFF1234")
    broken = CliRunner().invoke(cli, ["run", path, str(tmp_path / "broken.wav")])
    assert broken.exit_code == 2 and "does not open" in broken.output


def test_the_shipped_bundle_is_verified(shipped):
    assert edgekit.verify(shipped.bundle.path).ok


def test_the_device_needs_no_framework(shipped, sounds):
    program = (
        "import sys; from edgekit.testing import import_blocker\n"
        "with import_blocker('torch', 'transformers', 'optimum', 'onnx', 'scipy', 'tokenizers'):\n"
        "    from edgekit.cli import cli; cli(['run', sys.argv[1], sys.argv[2], '--json'])\n"
    )
    words = [sys.executable, "-c", program, str(shipped.bundle.path), str(sounds / "0.wav")]
    run = subprocess.run(words, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout)["answer"]["text"]
