"""Mutated bundles: damaged, swapped, cut, emptied, linked and edited ones, drawn by a seed, and what each may end in.

A bundle may be refused, with an error of edgekit's own, or verified where nothing of it was altered. Any other error
would be shown as a trace, and an altered bundle that is accepted would break the proof.
"""

from __future__ import annotations

import contextlib
import copy
import itertools
import json
import os
import random
import shutil
import signal
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner

from edgekit._record import digest_of_file
from edgekit.bundle import verify
from edgekit.bundle.bundle import open as open_bundle
from edgekit.bundle.manifest import MANIFEST, seal_of
from edgekit.cli import cli
from edgekit.errors import EdgekitError
from edgekit.tasks import drive, user_input
from tests.bundles import pictures

LIMIT_S = 20.0
"""Seconds after which a case counts as hanging; the slowest takes a tenth of one on an idle machine."""

REPORT = Path(__file__).parent.parent / "fixtures" / "reports" / "minilm.json"

RECIPE = """name = "own"
summary = "full precision"
"""


@dataclass(frozen=True)
class Case:
    """A mutated bundle, in a folder that the next case replaces."""

    name: str
    folder: Path
    altered: bool
    """Whether something that the proof covers differs: such a bundle must not be accepted."""


def deep(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 3.5, -0.0, 1e308, -1e308, 2**31, 2**63, 10**30, 10**300, 10**4000, "", "x", "nan",
    "inf", "-inf", "1", "x" * 5000, "\x00", "a\nb", "\x1b[2J", "\ud800", "\udce9", "..", "../../etc/passwd",
    "/etc/passwd", "/dev/zero", "a/" * 300, "é", [], {}, [[]], [None], [1] * 500, ["x"], {"x": 1}, {"": ""}, deep(40),
    deep(90), float("nan"), float("inf"),
)  # fmt: skip
"""Values of every type and of no sense, to be put in place of another."""


NO_SENSE = (
    b"", b"{}", b"[]", b"null", b"[" * 100_000, b"{" * 100_000, b'{"a":' * 3000, b"\xff\xfe", b"\x00" * 100,
    b"PK\x03\x04", b"PK\x05\x06" + b"\x00" * 18, b"\x93NUMPY", b"9" * 10_000, b'"\\ud800"', b"[[" * 40 + b"]]" * 40,
    b"a = [" * 2000,
)  # fmt: skip
"""Contents of files of another kind, or of none."""


def cases(seed: int, work: Path) -> Iterator[Case]:
    """Yield mutated bundles without end, each in `work`/case; the same seed gives the same bundles."""
    generator = random.Random(seed)
    base = prepared(work)
    for number in itertools.count():
        mutated = case(generator, work, base)
        yield replace(mutated, name=f"{number}: {mutated.name}")


def prepared(work: Path) -> Path:
    """Return the whole bundle, beside a file that links of mutated ones lead to."""
    (work / "outside").mkdir()
    (work / "outside" / "secret.txt").write_text("1\n2\n")
    return whole(work)


def case(generator: random.Random, work: Path, base: Path) -> Case:
    """Return a mutated copy of the bundle `base`, in `work`/case."""
    names = [path.relative_to(base).as_posix() for path in sorted(base.rglob("*")) if path.is_file()]
    folder = work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(base, folder)
    mutate = generator.choice(MUTATIONS)
    words, sealed = mutate(folder, generator, names)
    altered = not sealed and differs(base, folder, names)
    return Case(f"{mutate.__name__} {words}", folder, altered)


def whole(work: Path) -> Path:
    """Return a bundle that nothing is wrong with: of a small graph, with the report and the recipe of an export."""
    base = pictures(work / "base")
    (base / "recipe.toml").write_text(RECIPE)
    shutil.copyfile(REPORT, base / "report.json")  # of a whole export: it has measurements, layers and a tuning
    added = ["recipe.toml"]
    for candidate in json.loads(REPORT.read_text())["candidates"]:
        if name := (candidate.get("measurement") or {}).get("raw_file"):
            (base / name).parent.mkdir(exist_ok=True)
            (base / name).write_text("".join(f"{1000 + number}\n" for number in range(100)))
            added.append(name)
    rewrite(base, lambda content: content["files"].extend({"path": name, "bytes": 0, "sha256": ""} for name in added))
    relist(base)
    return base


def judge(case: Case) -> list[str]:
    """Return what is wrong with how edgekit treats a case: traces, hangs, and an altered bundle that was accepted."""
    faults = []
    for use in USES:
        name = getattr(use, "__name__", str(use))
        try:
            with limit(LIMIT_S), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                accepted = use(case.folder)
        except EdgekitError as error:
            if not 2 <= error.exit_code <= 9 or not error.message:
                faults.append(f"{name}: exit code {error.exit_code}: {error.message!r}")
        except TimeoutError:
            faults.append(f"{name}: it hangs")
        except Exception as error:
            faults.append(f"{name}: {type(error).__name__}: {str(error)[:300]}")
        else:
            if accepted and case.altered and use is verified:
                faults.append(f"{name}: an altered bundle was accepted")
    return faults


# What is done with a bundle


def verified(folder: Path) -> bool:
    return verify.verify(folder).ok


def answered(folder: Path) -> bool:
    bundle = open_bundle(folder)
    task = user_input.by_position(bundle.task(), bundle.path / "assets", bundle.payload.part.inputs)
    sample = user_input.sample(task, [str(picture(folder.parent))])
    with bundle.runner() as runner:
        task.answer([inference.outputs for inference in drive(task, sample, runner.run)], sample)
    return True


def shown(folder: Path) -> bool:
    return command("inspect", folder, "--report", folder.parent / "page.html")


def compared(folder: Path) -> bool:
    return command("compare", folder, folder.parent / "base" / "out", "--max-regress", "size=5%")


def finished(folder: Path) -> bool:
    return command("finish", folder)


def recipe_read(folder: Path) -> bool:
    return command("recipes", folder / "recipe.toml")


USES: tuple[Callable[[Path], bool], ...] = (verified, answered, shown, compared, finished, recipe_read)


def command(*words: object) -> bool:
    """Run a command in this process. Raises the error that would be shown with a trace."""
    result = CliRunner().invoke(cli, [*map(str, words)])
    if result.exit_code == 1:
        raise RuntimeError(result.output[-600:])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    if result.exit_code and not result.output.strip():
        raise RuntimeError(f"exit code {result.exit_code} without a word")
    return result.exit_code == 0


def picture(folder: Path) -> Path:
    path = folder / "picture.png"
    if not path.exists():
        from PIL import Image

        Image.new("L", (8, 8), 200).save(path)
    return path


@contextlib.contextmanager
def limit(seconds: float) -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


# Mutations: each returns what it did, and whether the hashes and the digest were written again to fit


def flip(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice(names)
    content = bytearray((folder / name).read_bytes())
    for _ in range(generator.choice((1, 1, 1, 8)) if content else 0):
        content[generator.randrange(len(content))] ^= 1 << generator.randrange(8)
    (folder / name).write_bytes(content)
    return name, False


def flip_manifest(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    return flip(folder, generator, [MANIFEST])


def cut(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice(names)
    content = (folder / name).read_bytes()
    size = generator.choice((0, 1, generator.randrange(len(content) + 1), max(len(content) - 1, 0)))
    (folder / name).write_bytes(content[:size])
    return f"{name} to {size}", False


def swap(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    one, other = generator.sample(names, 2)
    (folder / one).rename(folder / "swapped")
    (folder / other).rename(folder / one)
    (folder / "swapped").rename(folder / other)
    return f"{one} and {other}", False


def delete(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice([*names, "model", "samples", "assets"])
    place = folder / name
    shutil.rmtree(place) if place.is_dir() else place.unlink()
    return name, False


def add(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice(
        ("x", "model/x.bin", "assets/tokenizer.json", "samples/9-0.inputs.npz", ".hidden", "n" * 250)
    )
    (folder / name).write_bytes(generator.randbytes(20))
    return name, False


def replace_kind(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    """Put something else than a file in place of one."""
    name = generator.choice(names)
    place = folder / name
    content = place.read_bytes()
    place.unlink()
    kind = generator.choice(("folder", "pipe", "loop", "outside", "zero", "nowhere", "same content"))
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    elif kind == "same content":
        (folder.parent / "outside" / "same").write_bytes(content)
        place.symlink_to(folder.parent / "outside" / "same")
    else:
        place.symlink_to({"loop": place.name, "outside": str(folder.parent / "outside/secret.txt"), "zero": "/dev/zero",
                          "nowhere": "nothing"}[kind])  # fmt: skip
    return f"{name} by {kind}", False


def other_content(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    """Put content without sense in place of a file's, with its hash where it is not run."""
    name = generator.choice([name for name in names if not name.startswith("model/")])
    content = generator.choice(NO_SENSE)
    (folder / name).write_bytes(content)
    if name != MANIFEST:
        relist(folder)
    return f"{name} by {content[:12]!r}", name != MANIFEST


def edit_manifest(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    return edit(folder / MANIFEST, generator), False


def edit_sealed_manifest(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    words = edit(folder / MANIFEST, generator, times=generator.choice((1, 1, 3)))
    with contextlib.suppress(ValueError, RecursionError):
        rewrite(folder, lambda content: None)
    return words, True


def edit_earlier_manifest(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    """Edit a manifest of schema 2, which has no digest."""

    def earlier(content: dict[str, Any]) -> None:
        content["schema"] = 2
        del content["seal"], content["stored"]

    rewrite(folder, earlier)
    return edit(folder / MANIFEST, generator), True


def edit_record(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice(("report.json", "assets/task.json"))
    words = edit(folder / name, generator, times=generator.choice((1, 1, 3)))
    relist(folder)
    return f"{name} {words}", True


def edit_samples(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    name = generator.choice([name for name in names if name.startswith("samples/")])
    with np.load(folder / name) as file:
        arrays = dict(file)
    key = next(iter(arrays))
    array = arrays[key]
    changes: dict[str, Callable[[], Any]] = {
        "NaN": lambda: np.full_like(array, np.nan),
        "infinite": lambda: np.full_like(array, np.inf),
        "wide": lambda: array.astype(np.float64),
        "whole": lambda: array.astype(np.int64),
        "text": lambda: array.astype(str),
        "complex": lambda: array.astype(np.complex64),
        "dates": lambda: np.zeros(array.shape, "M8[s]"),
        "record": lambda: np.zeros(3, [("a", "f4")]),
        "bytes": lambda: np.zeros(array.shape, "S3"),
        "none": lambda: np.zeros((0,), np.float32),
        "scalar": lambda: np.float32(1),
        "large": lambda: np.zeros((1, 1, 2000, 2000), np.float32),
        "rank": lambda: array[None],
    }
    how = generator.choice(sorted(changes))
    arrays[key] = changes[how]()
    extra = generator.random()
    if extra < 0.1:
        arrays[generator.choice(("x", "/etc/x", "../x", "é", ""))] = array
    elif extra < 0.2:
        del arrays[key]
    (np.savez if generator.random() < 0.5 else np.savez_compressed)(folder / name, **arrays)
    relist(folder)
    return f"{name} {how} {extra:.2f}", True


def damage_samples(folder: Path, generator: random.Random, names: list[str]) -> tuple[str, bool]:
    words, _ = generator.choice((flip, cut))(folder, generator, [name for name in names if name.startswith("samples/")])
    relist(folder)
    return words, True


MUTATIONS: tuple[Callable[[Path, random.Random, list[str]], tuple[str, bool]], ...] = (
    flip, flip_manifest, cut, swap, delete, add, replace_kind, other_content, edit_manifest, edit_sealed_manifest,
    edit_sealed_manifest, edit_earlier_manifest, edit_record, edit_record, edit_samples, damage_samples,
)  # fmt: skip


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Change the manifest and write its digest again, where its content still has one."""
    file = folder / MANIFEST
    content = json.loads(file.read_text())
    if isinstance(content, dict):
        change(content)
        if "seal" in content:
            with contextlib.suppress(ValueError, RecursionError):
                content["seal"] = seal_of(content)
    file.write_text(json.dumps(content))


def relist(folder: Path) -> None:
    """Write the sizes and hashes that the files have now into the manifest."""

    def change(content: dict[str, Any]) -> None:
        for file in content["files"]:
            place = folder / file["path"]
            file |= {"bytes": place.stat().st_size, "sha256": digest_of_file(place)}

    with contextlib.suppress(ValueError, TypeError):
        rewrite(folder, change)


def differs(base: Path, folder: Path, names: list[str]) -> bool:
    """Return whether a file of the bundle differs from the original's, or the manifest in what it says."""
    for name in names:
        place = folder / name
        if not place.is_file() or place.is_symlink():
            return True
        if place.read_bytes() != (base / name).read_bytes():
            if name != MANIFEST:
                return True
            try:
                if json.loads(place.read_bytes()) != json.loads((base / name).read_bytes()):
                    return True
            except (ValueError, RecursionError):
                return True
    return False


def edit(file: Path, generator: random.Random, times: int = 1) -> str:
    """Put an odd value in a random place of a JSON file, or remove, double or rename a key."""
    content = json.loads(file.read_text())
    words = []
    for _ in range(times):
        places = list(_places(content))
        if not places:
            break
        holder, key = generator.choice(places)
        how = generator.choice(("odd", "odd", "like", "like", "like", "remove", "rename", "add", "exchange"))
        if how == "like":
            holder[key] = _like(holder[key], generator)
        elif how == "remove":
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[generator.choice(("x", "", "é" * 40, f"{key}s"))] = holder.pop(key)
        elif how == "add" and isinstance(holder, dict):
            holder[generator.choice(("x", "schema", "../x", "y" * 3000))] = copy.deepcopy(generator.choice(ODD))
        elif how == "exchange":
            other, place = generator.choice(places)
            with contextlib.suppress(KeyError, IndexError):
                holder[key] = json.loads(json.dumps(other[place]))
        else:
            holder[key] = copy.deepcopy(generator.choice(ODD))
        words.append(f"{how} {str(key)[:40]}")
    file.write_text(json.dumps(content))
    return ", ".join(words)


def _like(value: Any, generator: random.Random) -> Any:
    """Return an odd value of the same type, which a check of types alone lets pass."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return generator.choice((0, 1, -1, 7, 10**6, 2**31, 2**63, 10**30))
    if isinstance(value, float):
        return generator.choice(
            (0.0, -0.0, -1.0, 1.0, 1e-300, 5e-324, 1e300, 1e308, -1e308, 10**30, "nan", "inf", "-inf")
        )
    if isinstance(value, str):
        return generator.choice(("", " ", "x", "\n", "é" * 200, value[:-1], value + value, "1 2 3", "nan", "\u202e"))
    if isinstance(value, list):
        return generator.choice(([], value[:1], value[::-1], value * 2, value[:-1]))
    if isinstance(value, dict):
        return dict(list(value.items())[: generator.randrange(len(value) + 1)])
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield the holder and the key of every value in a JSON value."""
    pairs = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, item in pairs:
        yield value, key
        yield from _places(item)
