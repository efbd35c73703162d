"""The files of a Hugging Face checkpoint: which define the model, whether they are complete, and which would run code.

Nothing here imports a framework: a safetensors header is JSON behind an 8-byte length
(https://huggingface.co/docs/safetensors, "Format").
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from edgekit import _reading
from edgekit._record import digest_of, digest_of_file
from edgekit.errors import UnsupportedError, UsageError
from edgekit.model import Outline, Reference
from edgekit.sources import description, other_formats

SAFETENSORS = "model.safetensors"
BIN = "pytorch_model.bin"
SENTENCE_MODULES = "modules.json"

_SETTINGS = (
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "source.spm",
    "target.spm",
    "target_vocab.json",
    "generation_config.json",
    "sentence_bert_config.json",
    "config_sentence_transformers.json",
    SENTENCE_MODULES,
)
"""Files beside the weights that define what the model computes or how its inputs are made."""


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in a file. Raises UsageError, naming the file, where there is none."""
    data = _reading.read_json(path, "the file", not_finite=True, hint="the file may be truncated; copy it again")
    if not isinstance(data, dict):
        raise UsageError(f"'{path}' does not hold a JSON object.", hint="copy or download the file again")
    return data


def check(folder: Path, reference: Reference) -> None:
    """Raise UsageError for a folder that is not a checkpoint, is incomplete, or would run code that was not allowed.

    Raises UnsupportedError for one that is quantized already.
    """
    for file in sorted(folder.iterdir()):
        _reading.check_regular(file)
    config = folder / "config.json"
    if not config.is_file():
        raise other_formats.of_folder(folder) or UsageError(
            f"'{folder}' is not a Hugging Face model: it has no config.json.",
            hint="pass the folder that holds config.json and the weights, as save_pretrained writes it",
        )
    settings = read_json(config)
    if error := other_formats.of_folder(folder):
        raise error
    if (folder / SENTENCE_MODULES).is_file() and "model_type" not in settings:
        raise UsageError(
            f"'{folder}' has its transformer in a subfolder, an old layout of sentence-transformers.",
            hint="load it with sentence-transformers and save it again",
        )
    _refuse_code(config, settings, reference)
    if quantized := settings.get("quantization_config"):
        method = quantized.get("quant_method", "unknown") if isinstance(quantized, dict) else str(quantized)
        raise UnsupportedError(
            f"'{folder}' is already quantized ({method}), in a form that cannot be exported.",
            hint="pass the checkpoint that it was made from: edgekit quantizes it and measures the loss of accuracy",
        )
    if (folder / "adapter_config.json").is_file():
        raise UsageError(
            f"'{folder}' has an adapter (adapter_config.json) and a complete model: it is not clear which to export.",
            hint="merge it (peft: merge_and_unload().save_pretrained(...)), or move the adapter's files elsewhere",
        )
    files = weights(folder)
    if not files:
        raise other_formats.other_weights(folder) or UsageError(
            f"'{folder}' has a config.json but no weights.",
            hint=f"it should have {SAFETENSORS}, or shards and their index; a partial download or Git LFS lacks them",
        )
    for file in files:
        if file.suffix == ".safetensors":
            check_safetensors(file)
        elif file.stat().st_size < 1024 and file.read_bytes().startswith(b"version https://git-lfs"):
            raise _lfs_pointer(file)


_TASKS = {
    "ForSequenceClassification": "text-classification",
    "ForImageClassification": "image-classification",
    "ForTokenClassification": "token-classification",
    "ForAudioClassification": "audio-classification",
}
"""The task of a network by the end of its class's name."""

_TEXT_FILES = ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "vocab.json", "spiece.model", "tokenizer.model")


def outline(folder: Path, reference: Reference) -> Outline:
    """Return what a checkpoint's config and the names of its files say. Raises UsageError where there is none."""
    settings = read_json(folder / "config.json")
    names = settings.get("architectures")
    network = str(names[0]) if isinstance(names, list) and names else ""
    task = reference.task or next((task for end, task in _TASKS.items() if network.endswith(end)), None)
    beside = folder if reference.processor is None else Path(reference.processor)
    with_text = any((beside / name).is_file() for name in _TEXT_FILES)
    with_pictures, with_sounds = "image" in _processor_kind(beside), "sound" in _processor_kind(beside)
    takes: Any = None
    if with_sounds:
        takes = "sounds"
    elif with_text != with_pictures:
        takes = "texts" if with_text else "pictures"
    return Outline(task, takes, _class_names(settings, network))


def _processor_kind(folder: Path) -> str:
    file = folder / "preprocessor_config.json"
    settings = read_json(file) if file.is_file() else {}
    return f"{settings.get('image_processor_type', '')} {settings.get('feature_extractor_type', '')}".casefold() + (
        " image" if "image_mean" in settings else " sound" if "sampling_rate" in settings else ""
    )


def _class_names(settings: Mapping[str, Any], network: str) -> tuple[str, ...]:
    """Return the names of a classifier's classes; empty for one of several labels at once, or of numbers."""
    names = settings.get("id2label")
    single = settings.get("problem_type") in (None, "single_label_classification")
    if not isinstance(names, dict) or len(names) < 2 or not single or not network.endswith(tuple(_TASKS)):
        return ()
    return tuple(str(names[number]) for number in sorted(names, key=lambda key: int(key) if key.isdigit() else 0))


def _refuse_code(config: Path, settings: dict[str, Any], reference: Reference) -> None:
    remote = settings.get("auto_map")
    if remote and not reference.trust_remote_code:
        names = (
            ", ".join(sorted({str(value) for value in remote.values()})) if isinstance(remote, dict) else str(remote)
        )
        raise UsageError(
            f"'{config}' asks to run the checkpoint's own Python code ({names}), which is not allowed.",
            hint="read that code, then allow it with --trust-remote-code",
        )


def weights(folder: Path) -> tuple[Path, ...]:
    """Return the weight files that transformers would read: safetensors before .bin, shards by their index.

    Raises UsageError for a shard that the index names and that is missing.
    """
    for single in (SAFETENSORS, BIN):
        index = folder / f"{single}.index.json"
        if (folder / single).is_file():
            return (folder / single,)
        if index.is_file():
            return _shards(folder, index)
    return ()


def _shards(folder: Path, index: Path) -> tuple[Path, ...]:
    mapping = read_json(index).get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise UsageError(f"'{index}' does not list any shards.", hint="copy or download the folder again")
    names = sorted({str(name) for name in mapping.values()})
    if outside := [name for name in names if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts]:
        raise UsageError(
            f"'{index}' names a shard outside its folder: '{outside[0][:200]}'.",
            hint="copy the checkpoint again from where it was published; its shards lie beside their index",
        )
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise UsageError(
            f"'{index.name}' names {len(names)} shards; missing from '{folder}': {', '.join(missing)}.",
            hint="copy or download them again",
        )
    return tuple(folder / name for name in names)


def check_safetensors(path: Path) -> None:
    """Raise UsageError unless the file's header is readable and its tensors end where the file ends."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        length = int.from_bytes(start, "little")
        if start + file.read(16) and b"version https://git-lfs".startswith(start):
            raise _lfs_pointer(path)
        if len(start) < 8 or not 2 <= length <= 100_000_000:  # the format's own limit on headers
            raise UsageError(f"'{path}' is not a safetensors file.", hint="it may be truncated; copy it again")
        file.seek(8)
        text = file.read(length)
    with _reading.guard(f"the header of '{path}'", hint="the file may be truncated; copy it again"):
        header = _reading.parse_json(text.decode())
        end = max((int(entry["data_offsets"][1]) for key, entry in header.items() if key != "__metadata__"), default=0)
    if size < 8 + length + end:
        raise UsageError(
            f"'{path}' is truncated: it has {size:,} bytes, its header states {8 + length + end:,}.",
            hint="copy or download it again",
        )


def _lfs_pointer(path: Path) -> UsageError:
    return UsageError(f"'{path}' is a Git LFS pointer, not the weights.", hint="run `git lfs pull` in that folder")


def digest(folder: Path, reference: Reference) -> str:
    """Return the SHA-256 over all that defines the model: settings, weights, sentence modules, code where allowed."""
    files = {folder / name for name in _SETTINGS if (folder / name).is_file()} | set(weights(folder))
    if (folder / SENTENCE_MODULES).is_file():
        files |= {path for path in folder.glob("[0-9]*_*/*") if path.is_file()}
    if reference.trust_remote_code:
        files |= set(folder.glob("*.py"))
    names = {path.relative_to(folder).as_posix(): digest_of_file(path) for path in files}
    return digest_of([names, *_options(reference)])


def _options(reference: Reference) -> list[Any]:
    return [reference.task, processor_digest(reference), reference.trust_remote_code, reference.allow_pickle]


def processor_digest(reference: Reference) -> dict[str, str]:
    """Return the digests of the tokenizer or processor files that the user named, by file name."""
    if not reference.processor:
        return {}
    path = Path(reference.processor)
    if description.is_description(path):
        return description.digests(path)
    files = [path] if path.is_file() else [path / name for name in _SETTINGS if (path / name).is_file()]
    return {file.name: digest_of_file(file) for file in files}


MOST = {("layers", "n_layer", "depth", "depths", "blocks"): 10_000, ("_size", "num_labels"): 10_000_000}
"""The greatest values of config.json's keys, by their ends: public models have some hundred layers and 1e6 tokens."""

MOST_TOKENS = 10_000_000
"""The greatest number of a token: tokenizers write every number up to it."""


def check_sizes(settings: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError for a config, or one in it, so large that making the network would not end."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            check_sizes(value, path)
        most = next((most for ends, most in MOST.items() if name.endswith(ends)), None)
        for number in value if isinstance(value, list) else [value]:
            if most is not None and isinstance(number, int) and number > most:
                raise UsageError(
                    f"'{path}' sets {name} to {str(number)[:20]}; at most {most:,} is supported.",
                    hint="compare it with the config.json of the model's origin, and correct that value",
                )


def check_tokens(vocabulary: Mapping[str, Any], path: Path) -> None:
    """Raise UsageError for a tokenizer's vocabulary with a number that is not a token's."""
    for token, number in vocabulary.items():
        if type(number) is not int or not 0 <= number <= MOST_TOKENS:
            raise UsageError(
                f"'{path}' gives the token '{token[:60]}' the number {str(number)[:20]}, which is not one from 0 to "
                f"{MOST_TOKENS:,}.",
                hint="compare it with the file of the model's origin, and copy it again",
            )
