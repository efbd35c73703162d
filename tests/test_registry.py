"""Finding plugins: real distributions, installed as a folder on the path with its metadata."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgekit import registry
from edgekit.errors import EnvironmentFault, UsageError
from edgekit.plugin import API
from edgekit.testing import install, installed
from tests.wording import raises

ROOT = Path(__file__).parent.parent

BACKEND = """
from dataclasses import dataclass
from edgekit.plugin import API
from edgekit._record import Record

@dataclass(frozen=True)
class Options(Record):
    pass

class Tiny:
    api = API
    name = "tiny"
    summary = "does nothing"
    accepts = frozenset({"clay"})
    options = Options

    def probe(self): ...
    def supports(self, model, target): ...
    def build(self, model, target, options, workdir): ...
    def open(self, payload): ...
"""


def backend(folder: Path, code: str, *, name: str = "tiny", package: str = "edgekit-tiny", value: str = "") -> Path:
    module = package.replace("-", "_")
    points = {"edgekit.backends": {name: value or f"{module}:Tiny"}}
    return install(folder, package, points, {f"{module}.py": code})


# What is installed


def test_own_plugins_are_listed_without_importing_any() -> None:
    code = (
        "import sys; from edgekit import registry\n"
        "print(registry.names('backend'), registry.names('pass'), registry.names('source'))\n"
        "print(sorted({'onnxruntime', 'openvino', 'torch', 'onnx', 'edgekit_onnxruntime', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names, heavy = done.stdout.splitlines()
    for name in ("onnxruntime", "openvino", "quantize-static", "cast", "hf", "onnx", "module"):
        assert f"'{name}'" in names
    assert heavy == "[]"


@pytest.mark.parametrize("name", registry.names("backend"))
def test_installed_backends_keep_the_contract(name: str) -> None:
    assert registry.backend(name).name == name
    assert registry.backend(name) is registry.backend(name)
    assert registry.distribution("backend", name).startswith("edgekit-")


@pytest.mark.parametrize("name", registry.names("pass"))
def test_installed_passes_keep_the_contract(name: str) -> None:
    assert registry.pass_type(name).name == name
    plugin = {"nncf": "edgekit-openvino ", "genai": "edgekit-onnxruntime "}.get(name, "edgekit ")
    assert registry.distribution("pass", name).startswith(plugin)


def test_installed_sources_keep_the_contract() -> None:
    assert tuple(source.scheme for source in registry.sources()) == registry.names("source")


# Others' plugins


def test_a_new_distribution_is_found(tmp_path: Path) -> None:
    with installed(backend(tmp_path, BACKEND)):
        assert registry.backend("tiny").summary == "does nothing"
        assert registry.distribution("backend", "tiny") == "edgekit-tiny 1.0"
    with raises(UsageError, "'tiny'", hint="edgekit plugins"):
        registry.backend("tiny")


def test_an_instance_may_stand_in_for_the_class(tmp_path: Path) -> None:
    with installed(backend(tmp_path, BACKEND + "\nready = Tiny()\n", value="edgekit_tiny:ready")):
        assert registry.backend("tiny").name == "tiny"


def test_two_owners_of_a_name_are_both_named_and_the_rest_works(tmp_path: Path) -> None:
    backend(tmp_path, BACKEND)
    backend(tmp_path, BACKEND, package="other-tiny")
    with installed(tmp_path):
        with raises(EnvironmentFault, "'tiny'", "edgekit-tiny 1.0", "other-tiny 1.0") as caught:
            registry.backend("tiny")
        for part in ("edgekit-tiny 1.0 (edgekit_tiny:Tiny)", "other-tiny 1.0 (other_tiny:Tiny)"):
            assert part in caught.value.message
        assert caught.value.hint == "uninstall one of them: pip uninstall edgekit-tiny or pip uninstall other-tiny"
        assert "tiny" in registry.names("backend")
        assert registry.backend("onnxruntime").name == "onnxruntime"


def test_one_distribution_seen_twice_is_not_a_collision(tmp_path: Path) -> None:
    for name in ("one", "two"):
        backend(tmp_path / name, BACKEND)
    with installed(tmp_path / "one"), installed(tmp_path / "two"):
        assert registry.backend("tiny").name == "tiny"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (BACKEND.replace("api = API", "api = 99"), ("contract 99", str(API))),
        (BACKEND.replace("api = API", "api = 1"), ("contract 1", str(API))),
        (BACKEND.replace("    api = API\n", ""), "contract unknown"),
        (BACKEND.replace("    def open(self, payload): ...\n", ""), ("edgekit.plugin.Backend", "open")),
        (
            BACKEND.replace("    summary = ", "    sumary = ").replace("    def probe", "    def prob"),
            "probe, summary",
        ),
        (BACKEND.replace('name = "tiny"', 'name = "teeny"'), ("'tiny'", "'teeny'")),
        ("import no_such_runtime", ("ModuleNotFoundError", "'no_such_runtime'")),
        ("raise OSError('libtiny.so.3: cannot open shared object file')", "OSError: libtiny.so.3"),
        ("def broken(:", "SyntaxError"),
        ("Other = 1", "AttributeError"),
        (BACKEND + "    def __init__(self): raise RuntimeError('no licence')\n", "RuntimeError: no licence"),
    ],
)
def test_broken_backends_are_environment_faults(tmp_path: Path, code: str, message: str) -> None:
    with installed(backend(tmp_path, code)):
        with raises(EnvironmentFault, message) as caught:
            registry.backend("tiny")
        assert "edgekit-tiny" in caught.value.message
        assert "edgekit-tiny" in (caught.value.hint or "")


def test_the_error_for_a_backend_of_contract_1_gives_the_upgrade_of_both(tmp_path: Path) -> None:
    with installed(backend(tmp_path, BACKEND.replace("api = API", "api = 1"))):
        with pytest.raises(EnvironmentFault) as caught:
            registry.backend("tiny")
        assert caught.value.hint == "pip install --upgrade edgekit edgekit-tiny"


def test_the_cause_is_chained(tmp_path: Path) -> None:
    with installed(backend(tmp_path, "import no_such_runtime")), pytest.raises(EnvironmentFault) as caught:
        registry.backend("tiny")
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


PASS = """
from dataclasses import dataclass
from typing import ClassVar
from edgekit._record import Record

@dataclass(frozen=True)
class Tiny(Record):
    name: ClassVar[str] = "tiny"
    accepts: ClassVar[frozenset[str]] = frozenset({"onnx"})
    gives: ClassVar[str] = "onnx"
    needs_samples: ClassVar[bool] = False
    packages: ClassVar[tuple[str, ...]] = ()
    level: int = 1

    def apply(self, model, samples, workdir): ...
"""


def test_passes_of_others(tmp_path: Path) -> None:
    points = {"edgekit.passes": {"tiny": "tiny_pass:Tiny"}}
    with installed(install(tmp_path, "tiny", points, {"tiny_pass.py": PASS})):
        assert registry.pass_type("tiny").from_dict({"level": 2}).level == 2


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (PASS.replace("(Record)", ""), "Record"),
        (PASS.replace("    needs_samples", "    need_samples"), ("edgekit.plugin.Pass", "needs_samples")),
        (PASS.replace("    packages", "    pakages"), ("edgekit.plugin.Pass", "packages")),
        (PASS.replace('= "tiny"', '= "huge"'), ("'tiny'", "'huge'")),
    ],
)
def test_broken_passes_are_environment_faults(tmp_path: Path, code: str, message: str) -> None:
    points = {"edgekit.passes": {"tiny": "tiny_pass:Tiny"}}
    with (
        installed(install(tmp_path, "tiny", points, {"tiny_pass.py": code})),
        raises(EnvironmentFault, message),
    ):
        registry.pass_type("tiny")


def test_broken_sources_are_environment_faults(tmp_path: Path) -> None:
    points = {"edgekit.sources": {"tiny": "tiny_source:Tiny"}}
    code = "class Tiny:\n    scheme = 'tiny'\n    def claims(self, ref): return False\n"
    with (
        installed(install(tmp_path, "tiny", points, {"tiny_source.py": code})),
        raises(EnvironmentFault, "Source", "check, digest, gives, load, packages"),
    ):
        registry.sources()


# Names that are not there


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("backend", "onxruntime", ("'onxruntime'", "'onnxruntime'")),
        ("backend", "opnvino", ("'opnvino'", "'openvino'")),
        ("pass", "quantise-static", ("'quantise-static'", "'quantize-static'")),
    ],
)
def test_unknown_names_give_the_nearest(kind: str, name: str, message: str) -> None:
    use = {"backend": registry.backend, "pass": registry.pass_type}[kind]
    with raises(UsageError, message) as caught:
        use(name)
    assert "edgekit plugins" in (caught.value.hint or "")


def test_a_known_plugin_that_is_missing_is_answered_with_its_install_line() -> None:
    for name in set(registry.KNOWN_PLUGINS) - set(registry.names("backend")):
        with raises(EnvironmentFault, f"'{name}'") as caught:
            registry.backend(name)
        assert caught.value.hint == f"pip install {registry.KNOWN_PLUGINS[name]}"


def test_without_any_plugin_every_known_one_has_its_line(tmp_path: Path) -> None:
    """Runs in a process that has edgekit and no plugin."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
        "from edgekit import registry\nfrom edgekit.errors import EnvironmentFault\n"
        "assert registry.names('backend') == ()\n"
        "for name in registry.KNOWN_PLUGINS:\n"
        "    try:\n"
        "        registry.backend(name)\n"
        "    except EnvironmentFault as error:\n"
        "        print(error.hint)\n"
    )
    environment = {"PYTHONPATH": ""}
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, cwd=tmp_path, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:-1] == [f"pip install {name}" for name in registry.KNOWN_PLUGINS.values()]


TRANSPORT = """
class Serial:
    api, scheme = 2, "serial"

    def __init__(self, address):
        self.address = address

    def run(self, argv, *, timeout_s, stdin=None, on_line=None): ...
    def push(self, source, to, *, timeout_s): ...
    def fetch(self, source, to, *, timeout_s): ...
    def close(self): ...
    def __enter__(self): return self
    def __exit__(self, *exc): ...
"""


def transport(folder: Path, code: str, *, package: str = "edgekit-serial") -> Path:
    module = package.replace("-", "_")
    return install(folder, package, {"edgekit.transports": {"serial": f"{module}:Serial"}}, {f"{module}.py": code})


def test_a_transport_of_another_package_is_connected(tmp_path: Path) -> None:
    from edgekit.device import Transport, connect

    with installed(transport(tmp_path, TRANSPORT)):
        board = connect("serial:/dev/ttyUSB0")
        assert isinstance(board, Transport)
        assert board.address == "serial:/dev/ttyUSB0"
    with raises(UsageError, "'serial'", hint="local, ssh"):
        connect("serial:/dev/ttyUSB0")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (TRANSPORT.replace("api, scheme = 2", "api, scheme = 9"), "contract 9"),
        (TRANSPORT.replace("def push", "def put"), ("edgekit.device.Transport", "push")),
        (TRANSPORT.replace('"serial"', '"tty"'), ("'serial'", "'tty'")),
    ],
)
def test_broken_transports_are_environment_faults(tmp_path: Path, code: str, message: str) -> None:
    with installed(transport(tmp_path, code)), raises(EnvironmentFault, message):
        registry.transport("serial")


def test_two_transports_of_one_scheme_are_an_error(tmp_path: Path) -> None:
    transport(tmp_path, TRANSPORT)
    transport(tmp_path, TRANSPORT, package="other-serial")
    with installed(tmp_path), raises(EnvironmentFault, "'serial'", "edgekit-serial 1.0", "other-serial 1.0"):
        registry.transport("serial")
