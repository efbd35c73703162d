"""What a user mistyped on the command line, as a UsageError with a next step of its own.

click's own messages are kept where they name the value; the step is the option that was meant, what the option takes,
or a command of the verb that works.
"""

from __future__ import annotations

import re

import click

from edgekit.errors import UsageError, nearest

VERBS = {
    "benchmark": "bench",
    "build": "export",
    "check": "verify",
    "compile": "export",
    "convert": "export",
    "describe": "inspect",
    "diff": "compare",
    "info": "inspect",
    "infer": "run",
    "install": "deploy",
    "list": "targets",
    "optimize": "export",
    "predict": "run",
    "quantize": "export",
    "show": "inspect",
    "test": "verify",
    "validate": "verify",
}
"""The verbs of other tools."""

OPTIONS = {
    "accuracydrop": "--max-drop",
    "atol": "--max-drop",
    "batch": "--shape batch=8",
    "batchsize": "--shape batch=8",
    "calib": "--calibration-data",
    "calibration": "--calibration-data",
    "dataset": "--data",
    "dtype": "--recipe fp16",
    "dynamic": "--shape NAME=dynamic",
    "dynamicaxes": "--shape NAME=dynamic",
    "format": "--backend onnxruntime, openvino or tensorrt",
    "fp16": "--recipe fp16",
    "half": "--recipe fp16",
    "imgsz": "--shape height=640 --shape width=640",
    "inputshape": "--shape NAME=SIZE",
    "inputshapes": "--shape NAME=SIZE",
    "int8": "--recipe int8-static, with --data",
    "labels": "--label-column",
    "out": "--output",
    "outputdir": "--output",
    "outdir": "--output",
    "platform": "--target",
    "precision": "--recipe fp16, int8-static or another of `edgekit recipes`",
    "provider": "--backend",
    "quant": "--recipe int8-static, with --data",
    "quantization": "--recipe int8-static, with --data",
    "quantize": "--recipe int8-static, with --data",
    "runtime": "--backend",
    "rtol": "--max-drop",
    "numsamples": "--max-samples",
    "trainingdata": "--train",
    "validationdata": "--data",
    "valdata": "--data",
    "weights": "--model",
}
"""The options of other tools, without their dashes, and what does the same here."""

MOST_WORDS = 200
"""The longest description of an option that a message repeats."""


class UnknownVerb(click.UsageError):
    """A word in the place of a verb that is not one."""

    def __init__(self, word: str, verbs: tuple[str, ...], ctx: click.Context) -> None:
        super().__init__(f"unknown command '{word}'.", ctx)
        self.word = word
        self.verbs = verbs


def usage_error(error: click.ClickException) -> UsageError:
    """Return the UsageError of what click found wrong."""
    context = getattr(error, "ctx", None)
    command = context.command if context else None
    message = error.format_message()
    if isinstance(error, UnknownVerb):
        return UsageError(
            f"unknown command '{error.word}'.{nearest(error.word, error.verbs, VERBS)}",
            hint=f"one of: {', '.join(error.verbs)}",
        )
    if isinstance(error, click.NoSuchOption):
        return _no_such_option(error, command)
    if isinstance(error, click.MissingParameter):
        match = re.match(r"Missing (.+?)\.(?:\s|$)", message)
        message = f"the {match[1]} is missing." if match else message
    param = getattr(error, "param", None)
    takes = _description(param) if isinstance(param, click.Option) else None
    return UsageError(message[:1].lower() + message[1:], hint=takes or _example(command))


def _no_such_option(error: click.NoSuchOption, command: click.Command | None) -> UsageError:
    options = [param for param in command.params if isinstance(param, click.Option)] if command else []
    known = [name for param in options for name in param.opts if name.startswith("--")]
    word = re.sub(r"[^a-z0-9]", "", error.option_name.casefold())
    instead = OPTIONS.get(word)
    message = f"unknown option '{error.option_name}'."
    if instead and instead.split()[0].rstrip(",") in known:
        return UsageError(message, hint=f"here it is {instead}")
    near = re.sub(r"'(\w[\w-]*)'", r"'--\1'", nearest(error.option_name.lstrip("-"), [name[2:] for name in known]))
    match = re.search(r"'(--[\w-]+)'", near)
    meant = next((param for param in options if match and match[1] in param.opts), None)
    return UsageError(f"{message}{near}", hint=(_description(meant) if meant else None) or _example(command))


def _description(option: click.Option) -> str | None:
    """Return an option's form and what it does, from its help."""
    text = (option.help or "").partition(" [default:")[0]
    if not text or len(text) > MOST_WORDS:
        return None
    name = max(option.opts, key=len)
    return f"{name}{'' if option.is_flag else f' {option.make_metavar(click.Context(click.Command(name)))}'}: {text}"


def _example(command: click.Command | None) -> str:
    """Return a command of the verb that works, as its help shows it."""
    examples = getattr(command, "examples", ())
    return f"for example: {examples[0].command if examples else 'edgekit export digits --output out/digits'}"
