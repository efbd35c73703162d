"""Start-up is fast and needs nothing heavy: times over bare Python, what gets loaded, a machine without frameworks.

Times are the processor time of whole child processes, the least of several, interleaved with bare Python: what other
programs do meanwhile is not counted, and the least is what the code costs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

from edgekit.cli import VERBS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgekit"

HEAVY = (
    *("torch", "transformers", "optimum", "onnx", "onnxscript", "onnxruntime", "openvino", "tensorrt", "safetensors"),
    *("huggingface_hub", "tokenizers", "PIL", "pyarrow", "pandas", "datasets", "sklearn", "scipy", "google", "rich"),
)
"""Everything that is heavy or may be missing on a device."""

TURNS = 7

BLOCK = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {(*HEAVY, "numpy")!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked)", name=name)
sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return an environment in which bytecode is kept, as in any installed package, but beside the checkout."""
    environment = {**os.environ, "PYTHONPYCACHEPREFIX": str(tmp_path_factory.mktemp("bytecode")), "NO_COLOR": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    environment.pop("PYTEST_ADDOPTS", None)
    return environment


def cpu_ms(environment: dict[str, str], *arguments: str) -> float:
    """Return the processor time of one whole Python process in ms."""
    process = subprocess.Popen([sys.executable, *arguments], env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return (usage.ru_utime + usage.ru_stime) * 1e3


def added_ms(environment: dict[str, str], *arguments: str) -> float:
    """Return what a call costs over bare Python in ms."""
    bare = ("-c", "pass")
    cpu_ms(environment, *arguments)  # writes the bytecode
    turns = [(cpu_ms(environment, *bare), cpu_ms(environment, *arguments)) for _ in range(TURNS)]
    return min(call for _, call in turns) - min(base for base, _ in turns)


def python(environment: dict[str, str], code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.alone
def test_importing_edgekit_adds_at_most_60_ms(environment: dict[str, str]) -> None:
    assert added_ms(environment, "-c", "import edgekit") <= 60


@pytest.mark.alone
def test_help_stays_under_150_ms(environment: dict[str, str]) -> None:
    # Over bare Python, which takes 10 to 30 ms, so this holds the command to less than 150 ms in all.
    assert added_ms(environment, "-m", "edgekit.cli", "--help") <= 120


def test_importing_edgekit_loads_none_of_its_modules_and_no_numpy(environment: dict[str, str]) -> None:
    loaded = json.loads(python(environment, "import edgekit, sys, json; print(json.dumps(sorted(sys.modules)))"))
    assert [name for name in loaded if name.startswith("edgekit")] == ["edgekit", "edgekit._version"]
    assert {"numpy", "click", *HEAVY}.isdisjoint(loaded)


def test_the_command_line_loads_no_numpy_for_help(environment: dict[str, str]) -> None:
    code = "import sys\nfrom edgekit.cli import cli\ntry: cli.main(['--help'])\nexcept SystemExit: print(*sys.modules)"
    loaded = python(environment, code).splitlines()[-1].split()
    assert "click" in loaded
    assert {"numpy", *HEAVY}.isdisjoint(loaded)


def modules() -> list[str]:
    """Return the modules outside the heavy rooms, and those within that are imported to list what there is."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"].values()
    entered = {name.partition(":")[0] for group in groups for name in group.values()}
    files = [path.relative_to(ROOT).with_suffix("") for path in sorted(PACKAGE.rglob("*.py"))]
    rooms = {"frameworks", "sources", "passes"}
    names = [".".join(file.parts) for file in files if file.parts[1] not in rooms or ".".join(file.parts) in entered]
    rooms_themselves = [f"edgekit.{room}" for room in sorted(rooms)]
    return [name.removesuffix(".__init__") for name in names if not name.endswith("__main__")] + rooms_themselves


def test_every_module_imports_without_anything_heavy(environment: dict[str, str]) -> None:
    names = modules()
    assert len(names) > 60
    code = f"""{BLOCK}
import importlib, traceback
failed = []
for name in {names!r}:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed.append(f"{{name}}: {{error}}")
print("\\n".join(failed))
"""
    assert python(environment, code).strip() == ""


def test_every_module_imports_without_the_modules_that_windows_lacks(environment: dict[str, str]) -> None:
    code = f"""
import importlib, signal, sys
for name in ("fcntl", "grp", "pty", "pwd", "resource", "termios", "tty"):
    sys.modules[name] = None
for name in ("SIGALRM", "SIGKILL", "SIGSTOP", "SIGCONT", "setitimer"):
    delattr(signal, name)
for name in {modules()!r}:
    importlib.import_module(name)
"""
    python(environment, code)


@pytest.mark.parametrize("plugin", sorted(path.name for path in ROOT.glob("plugins/*/edgekit_*")))
def test_every_plugin_imports_without_its_runtime(plugin: str, environment: dict[str, str]) -> None:
    assert python(environment, f"{BLOCK}\nimport {plugin}; print({plugin}.__name__)").strip() == plugin


def test_every_verb_helps_without_anything_heavy(environment: dict[str, str]) -> None:
    assert {"export", "verify", "bench", "run", "compare", "inspect", "targets", "plugins", "doctor"} <= set(VERBS)
    code = f"""{BLOCK}
import contextlib, io, json
from edgekit.cli import cli
answers = {{}}
for verb in {sorted(VERBS)!r}:
    for option in ("-h", "--help"):
        output = io.StringIO()
        code = None
        with contextlib.redirect_stdout(output):
            try:
                cli.main([verb, option])
            except SystemExit as end:
                code = end.code
        answers[f"{{verb}} {{option}}"] = [code, output.getvalue()]
print(json.dumps(answers))
"""
    answers = json.loads(python(environment, code))
    assert len(answers) == 2 * len(VERBS)
    for call, (exit_code, text) in answers.items():
        assert exit_code in (0, None), call
        assert f"edgekit {call.split()[0]}" in text, call
