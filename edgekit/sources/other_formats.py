"""Models in forms that edgekit does not load: what a file, a folder or an address is, and the step that leads to a form
that it does.

Only names and the first bytes are read; no framework is imported and no pickle is opened.
"""

from __future__ import annotations

import contextlib
import json
import re
import shlex
import tarfile
import zipfile
from pathlib import Path
from typing import Any

from edgekit.errors import UsageError, listed

_ORIGIN = "give the checkpoint, the module or the ONNX file that it was made from"
_TF2ONNX = "pip install tf2onnx, then python -m tf2onnx.convert"
_COMPILED = "give the checkpoint or the ONNX file that it was compiled from, and --target for the board"
_PICKLE = (
    "give --allow-pickle if you trust it; or convert it where it was trained: "
    "skl2onnx.to_onnx(model, X[:1], options={'zipmap': False}), or onnxmltools for "
    "other libraries; then give the .onnx file with --task tabular-classification"
)

SUFFIXES = {
    ".tflite": ("a TensorFlow Lite file", f"{_TF2ONNX} --tflite {{file}} --output {{stem}}.onnx; give {{stem}}.onnx"),
    ".h5": ("a Keras file", "keras.saving.load_model('{file}').export('{stem}.onnx', format='onnx'); give {stem}.onnx"),
    ".pb": (
        "a TensorFlow graph",
        f"{_TF2ONNX} --graphdef {{file}} --inputs NAME:0 --outputs NAME:0 --output {{stem}}.onnx; give {{stem}}.onnx",
    ),
    ".engine": ("a TensorRT engine, which runs on the GPU that it was built for alone", _COMPILED),
    ".mlmodel": ("a Core ML model", _ORIGIN),
    ".gguf": ("a GGUF file of llama.cpp", "give the Hugging Face folder that it was converted from"),
    ".pt2": ("a program of torch.export", "give its nn.Module as package.module:factory, or export it to ONNX"),
    ".pte": ("an ExecuTorch program", _ORIGIN),
    ".ort": ("a file in ONNX Runtime's own format", "give the .onnx file that it was converted from"),
    ".xml": ("an OpenVINO model", "give the .onnx file or the checkpoint that it was converted from"),
    ".param": ("an ncnn model", _ORIGIN),
    ".rknn": ("a model compiled for a Rockchip NPU", _COMPILED),
    ".hef": ("a model compiled for a Hailo chip", _COMPILED),
    ".dlc": ("a model compiled for a Qualcomm chip", _COMPILED),
    ".pkl": ("a pickle, which can run code when it is read", _PICKLE),
    ".joblib": ("a pickle of joblib, which can run code when it is read", _PICKLE),
    ".ubj": ("an XGBoost model", "convert it with onnxmltools.convert_xgboost, and give the .onnx file"),
    ".cbm": ("a CatBoost model", "model.save_model('{stem}.onnx', format='onnx'); give {stem}.onnx"),
    ".msgpack": ("a file of Flax weights", "save the model for PyTorch: from_pretrained(..., from_flax=True)"),
    ".csv": ("a table, not a model", "give it with --data, and the model in its place"),
    ".toml": ("a settings file, not a model", "a project file is given with --project, a target with --target"),
}
"""What a file is by its suffix, and the next step; {file} and {stem} are its path, with and without the suffix."""

_SAME = {
    ".keras": ".h5", ".hdf5": ".h5", ".plan": ".engine", ".trt": ".engine", ".mlpackage": ".mlmodel",
    ".mlmodelc": ".mlmodel", ".pickle": ".pkl", ".tsv": ".csv", ".jsonl": ".csv", ".parquet": ".csv", ".npz": ".csv",
}  # fmt: skip
_TORCH = (".pt", ".pth", ".ts", ".torchscript", ".bin", ".ckpt", ".safetensors")
_ARCHIVES = (".zip", ".tar", ".tgz", ".gz", ".xz", ".bz2", ".7z", ".rar")

FOLDERS = {
    "saved_model.pb": (
        "a TensorFlow SavedModel",
        f"{_TF2ONNX} --saved-model {{file}} --output {{stem}}.onnx; give {{stem}}.onnx",
    ),
    "manifest.json": (
        "a bundle of edgekit already",
        "run it: edgekit run {file} INPUT; or give the model it came from",
    ),
    "*.mlmodel": SUFFIXES[".mlmodel"],
    "*.gguf": ("the folder of a GGUF file", "give the Hugging Face folder that it was converted from"),
    "tf_model.h5": ("a TensorFlow checkpoint", "save it for PyTorch: from_pretrained(..., from_tf=True)"),
    "flax_model.msgpack": ("a Flax checkpoint", "save it for PyTorch: from_pretrained(..., from_flax=True)"),
    "*.onnx": ("the folder of ONNX files", "give one of them: {found}"),
    "*.ckpt": ("a training checkpoint", "load it in your code and save it with save_pretrained"),
    "adapter_config.json": (
        "an adapter (LoRA)",
        "merge it into its base model: merge_and_unload().save_pretrained(...)",
    ),
    "*.xml": SUFFIXES[".xml"],
    "*.py": ("a folder of code", "give a function in it that returns the model, as package.module:factory"),
}
"""What a folder without a checkpoint is by a file in it, the surest first; {found} are the files."""

_HUB = re.compile(
    r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co)/([\w.-]+/[\w.-]+)(?:/(?:tree|blob)/([\w.-]+))?.*"
)
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_CODE = re.compile(r"(?:\./)?([\w./-]+)\.py(?::(\w+))?")


def explained(ref: str) -> UsageError | None:
    """Return the error that says what a reference is and what to give instead; None for one that is unknown."""
    if error := _address(ref):
        return error
    path = Path(ref).expanduser()
    if path.is_dir():
        return of_folder(path)
    if path.is_file():
        return of_file(path)
    if (
        _NAME.fullmatch(ref)
        and not Path(ref.partition("/")[0]).exists()
        and path.suffix.lower() not in _known_suffixes()
    ):
        return UsageError(
            f"the folder '{ref}' does not exist here.", hint=f"for the model of that name on the hub give hf:{ref}"
        )
    return None


def of_file(path: Path) -> UsageError | None:
    """Return the error for a file that is not a model that edgekit loads; None for an unknown kind."""
    if error := of_content(path):
        return error
    suffix = path.suffix.lower()
    if suffix in _ARCHIVES:
        return _archive(path)
    if suffix == ".py":
        return _code(path.with_suffix("").as_posix(), None)
    if suffix in _TORCH:
        return _torch(path)
    what, step = SUFFIXES.get(_SAME.get(suffix, suffix), ("", ""))
    return _error(path, what, step) if what else None


def of_folder(path: Path) -> UsageError | None:
    """Return the error for a folder that holds another kind of model than a checkpoint; None for an unknown kind."""
    if path.suffix.lower() in (".mlpackage", ".mlmodelc"):
        return _error(path, *SUFFIXES[".mlmodel"])
    settings = _settings(path / "config.json")
    if settings is not None and "model_type" not in settings and isinstance(settings.get("architecture"), str):
        return UsageError(
            f"'{path}' is a timm model ('{settings['architecture']}'), not one of transformers.",
            hint="give it as module:factory, with a function that returns "
            f"timm.create_model('{settings['architecture']}', checkpoint_path='{_weights(path)}')",
        )
    if settings is not None:
        return None
    if error := other_weights(path):
        return error
    inner = sorted(file.parent for file in path.glob("*/config.json"))
    if inner:
        return UsageError(
            f"'{path}' is not a model, and holds some.", hint=f"give one: {listed(list(map(str, inner)), 3)}"
        )
    return None


def other_weights(path: Path) -> UsageError | None:
    """Return the error for a folder with the weights of another framework or tool; None where it has none."""
    for pattern, (what, step) in FOLDERS.items():
        if files := sorted(path.glob(pattern)):
            what = f"{what} ('{files[0].name}')"
            return _error(path, what, step.replace("{found}", listed([str(file) for file in files], 3)))
    return None


def of_content(path: Path) -> UsageError | None:
    """Return the error for a file whose first bytes show that it is not what its name says; None for others."""
    with contextlib.suppress(OSError):
        with path.open("rb") as file:
            start = file.read(64)
        if start.startswith(b"version https://git-lfs"):
            return UsageError(
                f"'{path}' is a Git LFS pointer, not the model.", hint=f"git -C {_quoted(path.parent)} lfs pull"
            )
        if start.lstrip()[:9].lower().startswith((b"<!doctype", b"<html")):
            return UsageError(
                f"'{path}' is a web page, not a model.", hint="download the file itself: its address has no /blob/"
            )
        if start.startswith(b"PK\x03\x04") and path.suffix.lower() == ".onnx":
            return _archive(path)
    return None


def _address(ref: str) -> UsageError | None:
    match = _HUB.fullmatch(ref)
    if match is None and ref.lower().startswith(("hf://", "hf/")):
        match = _HUB.fullmatch("hf.co/" + ref[3:].lstrip("/"))
    if match:
        revision = f" --revision {match[2]}" if match[2] and match[2] != "main" else ""
        return UsageError(f"'{ref}' is an address of the hub.", hint=f"give hf:{match[1]}{revision}")
    if re.match(r"[a-z][a-z0-9+]+://", ref, re.IGNORECASE):
        fetch = f"curl -LO {shlex.quote(ref)}" if ref.lower().startswith("http") else "copy it to this machine"
        return UsageError(f"'{ref}' is an address, and models are read from disk.", hint=f"{fetch}, and give the file")
    code = _CODE.fullmatch(ref)
    return _code(code[1], code[2]) if code and code[2] else None


def _code(module: str, name: str | None) -> UsageError:
    dotted = module.strip("./").replace("/", ".")
    return UsageError(
        f"'{module}.py' is a file of code.",
        hint=f"give the function in it that returns the model, as a module: {dotted}:{name or 'FUNCTION'}",
    )


def _torch(path: Path) -> UsageError:
    """Return the error for a file of torch: TorchScript, a whole module, or weights."""
    names: list[str] = []
    pickled = b""
    with contextlib.suppress(OSError, zipfile.BadZipFile, KeyError, RuntimeError), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        data = next((name for name in names if name.endswith("data.pkl")), None)
        if data is not None:
            with archive.open(data) as file:
                pickled = file.read(1 << 20)
    if any(name.endswith("constants.pkl") for name in names):
        return UsageError(
            f"'{path}' is compiled TorchScript, which torch does not export to ONNX any more.",
            hint="give the nn.Module that it was compiled from, as package.module:factory, or its ONNX file",
        )
    if b"ultralytics" in pickled:
        return UsageError(
            f"'{path}' is a pickled model of ultralytics.",
            hint=f"yolo export model={_quoted(path)} format=onnx; give {path.with_suffix('.onnx')}",
        )
    if (path.parent / "config.json").is_file():
        return UsageError(
            f"'{path}' has the weights alone: the folder is the model.", hint=f"give the folder: {path.parent}"
        )
    return UsageError(
        f"'{path}' has weights without their network.",
        hint="pass the folder with its config.json, or package.module:factory that loads them",
    )


def _archive(path: Path) -> UsageError:
    """Return the error for an archive, with the line that unpacks it and what to give then."""
    stem = path.name.partition(".")[0]
    folder = path.with_name(stem)
    names: list[str] = []
    with contextlib.suppress(OSError, zipfile.BadZipFile, tarfile.TarError, EOFError):
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = archive.namelist()
        elif tarfile.is_tarfile(path):
            with tarfile.open(path) as tar:
                names = [member.name for _, member in zip(range(1000), tar, strict=False)]
    models = [name for name in names if name.endswith((".onnx", "config.json"))]
    inside = (folder / (models[0] if models[0].endswith(".onnx") else Path(models[0]).parent)) if models else folder
    unpack = (
        f"unzip {_quoted(path)} -d {_quoted(folder)}"
        if zipfile.is_zipfile(path)
        else f"mkdir -p {_quoted(folder)} && tar -xf {_quoted(path)} -C {_quoted(folder)}"
    )
    return UsageError(f"'{path}' is an archive.", hint=f"unpack it, and give what is in it: {unpack}; then {inside}")


def _error(path: Path, what: str, step: str) -> UsageError:
    hint = step.replace("{file}", str(path)).replace("{stem}", str(path.with_suffix("")))
    return UsageError(f"edgekit does not load '{path}': it is {what}.", hint=hint)


def _settings(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    with contextlib.suppress(OSError, ValueError, RecursionError):
        settings = json.loads(path.read_bytes())
        return settings if isinstance(settings, dict) else {}
    return {}


def _weights(folder: Path) -> str:
    files = sorted(file for file in folder.iterdir() if file.suffix in _TORCH)
    return str(min(files, key=lambda file: file.suffix != ".safetensors", default=folder / "model.safetensors"))


def _known_suffixes() -> tuple[str, ...]:
    return (*SUFFIXES, *_SAME, *_TORCH, *_ARCHIVES, ".onnx", ".py")


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
