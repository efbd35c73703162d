"""Speech recognition and captions of pictures: small random networks answer as transformers does."""

from __future__ import annotations

import numpy as np
import pytest
from edgekit_onnxruntime import OnnxRuntime

from edgekit.data import Sample
from edgekit.evaluation.dataset import synthetic_feeds
from edgekit.model import Reference
from edgekit.passes.export.export import Export
from edgekit.plugin import Payload
from edgekit.runner import Program
from edgekit.sources.hf import HuggingFace
from edgekit.sources.torch_module import InMemoryModule
from edgekit.tasks import drive, load
from edgekit.tasks.config import TaskConfig
from edgekit.tasks.user_input import sample

torch = pytest.importorskip("torch")

SIZES = {"d_model": 16, "encoder_layers": 1, "decoder_layers": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
FRAMES = 40


def seeded(module):
    """Return a module of weights so large that each token depends on the input."""
    torch.manual_seed(2)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.4
    return module.eval()


def whisper(**settings):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=60,
        num_mel_bins=8,
        max_source_positions=FRAMES // 2,
        max_target_positions=24,
        pad_token_id=50,
        bos_token_id=50,
        eos_token_id=50,
        decoder_start_token_id=51,
        suppress_tokens=None,
        begin_suppress_tokens=None,
        attn_implementation="eager",
        **SIZES,
        **HEADS,
    )
    module = seeded(WhisperForConditionalGeneration(config))
    settings = dict(
        lang_to_id={"<|en|>": 52, "<|de|>": 53, "<|fr|>": 54},
        task_to_id={"transcribe": 55, "translate": 56},
        no_timestamps_token_id=57,
        is_multilingual=True,
        begin_suppress_tokens=[50],
        suppress_tokens=[3, 4, 58, 59],
        max_length=14,
        **settings,
    )
    for name, value in settings.items():
        setattr(module.generation_config, name, value)
    return module


def captioner(decoder):
    from transformers import GPT2Config, TrOCRConfig, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    picture = ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32, image_size=16, patch_size=8
    )
    text = {
        "gpt2": lambda: GPT2Config(
            vocab_size=40, n_embd=16, n_layer=2, n_head=2, n_positions=32, add_cross_attention=True
        ),
        "trocr": lambda: TrOCRConfig(
            vocab_size=40, d_model=24, decoder_layers=2, decoder_attention_heads=2, decoder_ffn_dim=32,
            max_position_embeddings=32, cross_attention_hidden_size=16,
        ),
    }[decoder]()  # fmt: skip
    config = VisionEncoderDecoderConfig.from_encoder_decoder_configs(picture, text)
    config.decoder_start_token_id = config.bos_token_id = 1
    config.pad_token_id = config.eos_token_id = 2
    module = seeded(VisionEncoderDecoderModel(config))
    module.generation_config.update(decoder_start_token_id=1, eos_token_id=2, pad_token_id=2, max_length=12)
    return module


def exported(module, folder):
    return applied(InMemoryModule(module).load(Reference("live"), folder), folder)


def applied(loaded, folder):
    work = folder / "model"
    work.mkdir()
    model = Export().apply(loaded, None, work)
    task = load(TaskConfig.load(model.assets), model.assets, model.inputs)
    payloads = tuple(Payload(work, (part.file,), part) for part in model.parts)
    return task, Program(payloads, model.states)


def expected(module, inputs, prompt=0, **options):
    """Return what transformers generates behind the prompt."""
    ids = module.generate(torch.from_numpy(inputs), **options)[0].tolist()
    return ids[prompt:]


NAMED = pytest.param({"language": "de", "task": "translate"}, marks=pytest.mark.nightly, id="named")


@pytest.mark.parametrize("settings", [NAMED, pytest.param({}, id="detected")])
def test_whisper_writes_the_same_ids(settings, tmp_path):
    module = whisper(**settings)
    task, program = exported(module, tmp_path)
    assert task.config.task == "automatic-speech-recognition" and task.metric == "wer"
    assert task.generation.languages == (() if settings else (52, 53, 54))
    assert task.generation.prompt == ((53, 56, 57) if settings else (57,))
    draw = np.random.default_rng(0)
    with program.open(OnnxRuntime()) as runner:
        for _ in range(4):
            sound = draw.normal(size=(1, 8, FRAMES)).astype(np.float32)
            sample = Sample({"input_features": sound})
            greedy = list(task.stream(sample, runner))
            assert greedy == expected(module, sound) and len(greedy) > 3
            recorded = task.predict([each.outputs for each in drive(task, sample, runner.start())])
            assert list(recorded.choices)[0 if settings else 1 :] == greedy


@pytest.mark.nightly
def test_whisper_writes_the_same_ids_with_beams(tmp_path):
    module = whisper(num_beams=3)
    task, program = exported(module, tmp_path)
    sound = np.random.default_rng(0).normal(size=(1, 8, FRAMES)).astype(np.float32)
    with program.open(OnnxRuntime()) as runner:
        assert list(task.stream(Sample({"input_features": sound}), runner)) == expected(module, sound)


@pytest.mark.parametrize("decoder", [pytest.param("gpt2", marks=pytest.mark.nightly), "trocr"])
def test_a_picture_gets_the_same_caption(decoder, tmp_path):
    module = captioner(decoder)
    task, program = exported(module, tmp_path)
    assert task.config.task == "image-to-text"
    pictures = np.random.default_rng(0).normal(size=(3, 1, 3, 16, 16)).astype(np.float32)
    with program.open(OnnxRuntime()) as runner:
        for picture in pictures:
            greedy = list(task.stream(Sample({"pixel_values": picture}), runner))
            assert greedy == expected(module, picture, prompt=1) and len(greedy) > 3


def test_a_folder_of_captions_answers_a_picture_file(tmp_path):
    """With its processor and tokenizer; its pictures have the processor's size where there is no data."""
    from PIL import Image
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, ViTImageProcessor

    folder, loaded = tmp_path / "captions", tmp_path / "loaded"
    loaded.mkdir()
    module, processor = captioner("trocr"), ViTImageProcessor(size={"height": 16, "width": 16})
    module.save_pretrained(folder)
    processor.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(40)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, bos_token="w1", eos_token="w2", pad_token="w2")
    tokenizer.save_pretrained(folder)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), dtype=np.uint8))
    picture.save(tmp_path / "a.png")

    model = HuggingFace().load(Reference(str(folder)), loaded)
    task, program = applied(model, loaded)
    (synthetic,) = synthetic_feeds(program.inputs, 0, model.input_hints).values()
    assert synthetic.shape == (1, 3, 16, 16)
    with program.open(OnnxRuntime()) as runner:
        ids = list(task.stream(sample(task, [str(tmp_path / "a.png")]), runner))
    wanted = expected(module, processor(picture, return_tensors="np").pixel_values, prompt=1)
    assert ids == wanted and len(ids) > 3
    assert task.generated(ids)["text"] == tokenizer.decode(wanted, skip_special_tokens=True)


@pytest.mark.nightly
def test_a_whisper_folder_becomes_a_bundle(tmp_path, monkeypatch):
    """With its feature extractor and tokenizer; a long sound is answered window by window."""
    soundfile = pytest.importorskip("soundfile")
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, WhisperFeatureExtractor

    import edgekit

    monkeypatch.setattr(f"{__name__}.FRAMES", 100)
    module, folder = whisper(language="de"), tmp_path / "whisper"
    module.generation_config._from_model_config = False
    module.save_pretrained(folder)
    words = Tokenizer(models.WordLevel({f"w{number}": number for number in range(60)}, unk_token="w0"))
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=words, pad_token="w50", eos_token="w50").save_pretrained(folder)
    extractor = WhisperFeatureExtractor(feature_size=8, chunk_length=1)
    extractor.save_pretrained(folder)
    sounds = [np.sin(600 * (place + 1) * (np.arange(6000) / 16000) ** 1.4) * 0.5 for place in range(5)]
    for place, sound in enumerate(sounds):
        soundfile.write(tmp_path / f"{place}.wav", sound, 16000)
    rows = "".join(f"{place}.wav,w13 w36\n" for place in range(5))
    (tmp_path / "data.csv").write_text(f"path,text\n{rows}")
    result = edgekit.export(
        str(folder), data=str(tmp_path / "data.csv"), candidates=["onnxruntime/fp32"], bench=False,
        output=str(tmp_path / "out"),
    )  # fmt: skip
    assert result.report.shipped.quality.metric == "wer" and edgekit.verify(result.bundle.path).ok
    samples, rate = soundfile.read(tmp_path / "1.wav", dtype="float32")
    ids = expected(module, extractor(samples, sampling_rate=rate, return_tensors="np").input_features)
    soundfile.write(tmp_path / "long.wav", np.tile(sounds[0], 8), 16000)
    with result.bundle.predictor() as predictor:
        assert predictor.predict(tmp_path / "1.wav") == {"text": " ".join(f"w{each}" for each in ids)}
        assert len(predictor.predict(str(tmp_path / "long.wav"))["text"].split()) > 2 * len(ids)
