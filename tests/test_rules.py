"""The rules of the house, read off the syntax trees: who may import whom, where, and when.

Every import counts, at the top of a module, inside a function and for types alike. A new module must be given its
layer here.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgekit.plugin

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "edgekit"
PLUGINS = {path.name: path.parent for path in sorted(ROOT.glob("plugins/*/edgekit_*"))}
EXAMPLES = {path.name: path.parent for path in sorted(ROOT.glob("tests/examples/*/edgekit_*"))}

LAYERS = (
    {"_files", "_in_use", "_privacy", "_process", "_reading", "_text", "_version", "errors", "progress"},
    {"_record", "_requirement", "_share", "_toml", "embedded", "graphs"},
    {"data", "layers", "project", "project_template", "recipe", "spec"},
    {"model", "target", "tasks"},
    {"_contract", "cache", "frameworks", "plugin", "runtime"},
    {"registry", "catalog", "result", "runner", "sources", "passes"},
    {"evaluation", "report", "sensors"},
    {"bench"},
    {"bundle"},
    {"device", "pipeline", "regression"},
    {"api", "cli"},
)
"""From the ground up. A module may import its own layer and those below."""

TESTING = "testing"
HEAVY_ROOMS = {"frameworks", "sources", "passes"}

ENTRY_POINTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
ENTERED = {
    PACKAGE.parent / Path(*name.partition(":")[0].split(".")).with_suffix(".py")
    for group in ENTRY_POINTS.values()
    for name in group.values()
}
"""The modules that are imported to list sources, passes and transports."""


ROOMS = {
    "click": {"cli"},
    "rich": {"cli", "report"},
    "PIL": {"data", "tasks"},
    "pyarrow": {"data"},
    "tokenizers": {"tasks"},
    "jinja2": {"tasks"},
    "filelock": {"_files", "cache"},
    "faster_coco_eval": {"tasks"},
    "yaml": {"data"},
    "soundfile": {"data"},
    "networkx": {"pipeline"},
    "optuna": {"pipeline"},
    "packaging": {"_requirement"},
    "sacrebleu": {"tasks"},
    "rouge_score": {"tasks"},
    "pytest": {TESTING},
    "torch": {TESTING},
}
"""Packages beside numpy and tomli that may be imported outside the heavy rooms, and where."""

AT_THE_TOP = {"click": {"cli"}, "pytest": {TESTING}, "tomli": {"_toml"}}
"""Packages that may be imported when a module loads: click draws the commands, tomli is the library's place on 3.10."""

BUILD_SIDE_OF_PLUGINS = {
    "build.py": {"onnx"},
    "calibrate.py": {"nncf"},
    "costs.py": set(),
    "cpu_session.py": {"onnxruntime"},
    "emulate.py": {"onnx"},
    "graph.py": {"onnx"},
    "ir.py": set(),
    "memory.py": {"onnx"},
    "nodes.py": {"onnx"},
    "preflight.py": set(),
    "preflight_process.py": {"tensorrt_rtx"},
    "quantize.py": set(),
}
"""The files of a plugin that its device side never reaches, and what they may import beside its runtime."""

DEVICE_SIDE_OF_PLUGINS = ("session.py", "plan.py", "options.py")
"""The files of a plugin that a device imports."""

RUNTIMES = {
    "edgekit_onnxruntime": {"onnxruntime", "onnxruntime_genai"},
    "edgekit_openvino": {"openvino"},
    "edgekit_tensorrt": {"tensorrt", "tensorrt_rtx"},
}


@dataclass(frozen=True)
class Import:
    file: Path
    line: int
    module: str
    """The whole dotted name, down to a module or to a name in one."""
    late: bool
    """Inside a function, or for the type checker only."""

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]

    @property
    def layer(self) -> str | None:
        """The module or subpackage of edgekit that it reaches; None for `edgekit` itself and for others."""
        parts = self.module.split(".")
        if parts[0] != "edgekit" or len(parts) < 2 or not exists(parts[1]):
            return None
        return parts[1]

    def __str__(self) -> str:
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {self.module}"


def exists(name: str) -> bool:
    return (PACKAGE / f"{name}.py").is_file() or (PACKAGE / name / "__init__.py").is_file()


def imports(file: Path) -> Iterator[Import]:
    """Yield every import of a file, each name of `from x import a, b` on its own."""
    yield from walk(file, ast.parse(file.read_text(), str(file)), late=False)


def walk(file: Path, node: ast.AST, *, late: bool) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        inside = late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)) or for_types(child)
        if isinstance(child, ast.Import):
            yield from (Import(file, child.lineno, alias.name, late) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            module = child.module or ""
            if child.level:  # the package of the file, up one folder for each further dot
                folder = file.relative_to(ROOT).parent
                for _ in range(child.level - 1):
                    folder = folder.parent
                module = ".".join([*folder.parts, *filter(None, [module])])
            yield from (Import(file, child.lineno, f"{module}.{alias.name}", late) for alias in child.names)
        yield from walk(file, child, late=inside)


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def place(file: Path) -> str:
    """Return the module or subpackage of edgekit that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def core() -> list[Import]:
    files = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
    return [item for file in files for item in imports(file)]


def third_party(item: Import) -> bool:
    return item.top != "edgekit" and item.top not in sys.stdlib_module_names


def listed(broken: list[Import]) -> str:
    return "\n" + "\n".join(map(str, broken))


def components(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the strongly connected components of more than one node, each sorted: what imports itself in a circle."""
    reach = {node: reachable(graph, node) for node in graph}
    circles = {
        tuple(sorted({node, *(other for other in reach[node] if node in reach.get(other, ()))})) for node in graph
    }
    return sorted(list(circle) for circle in circles if len(circle) > 1)


def reachable(graph: dict[str, set[str]], start: str) -> set[str]:
    seen: set[str] = set()
    waiting = [start]
    while waiting:
        for follower in graph.get(waiting.pop(), set()) - seen:
            seen.add(follower)
            waiting.append(follower)
    return seen


def modules(package: Path) -> dict[str, set[str]]:
    """Return each module's name, and those of the same package that it imports."""
    files = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
             for path in sorted(package.rglob("*.py"))}  # fmt: skip

    def module(name: str) -> str:
        while name and name not in files:
            name = name.rpartition(".")[0]
        return name

    graph = {name: {module(each.module) for each in imports(path)} - {"", name} for name, path in files.items()}
    return {name: {imported for imported in reached if imported != package.name} for name, reached in graph.items()}


def test_no_module_imports_itself_in_a_circle() -> None:
    graph = modules(PACKAGE)
    for name, folder in PLUGINS.items():
        graph |= {f"{name}:{module}": {f"{name}:{other}" for other in reached}
                  for module, reached in modules_of_plugin(folder / name).items()}  # fmt: skip
    assert components(graph) == []


def modules_of_plugin(package: Path) -> dict[str, set[str]]:
    files = {f"{package.name}.{path.stem}".removesuffix(".__init__"): path for path in sorted(package.glob("*.py"))}
    return {
        name: {
            other
            for each in imports(path)
            for other in (each.module, each.module.rpartition(".")[0])
            if other in files and other not in (name, package.name)
        }
        for name, path in files.items()
    }


def test_no_two_folders_import_each_other() -> None:
    """A folder is a subpackage of edgekit, or a module at its top; longer circles of folders count as well."""
    folders: dict[str, set[str]] = {}
    for each in core():
        if each.layer is not None and each.layer != place(each.file):
            folders.setdefault(place(each.file), set()).add(each.layer)
    assert components(folders) == []


def test_every_module_has_one_layer() -> None:
    placed = [name for layer in LAYERS for name in layer]
    here = {place(path) for path in PACKAGE.rglob("*.py")} - {"__init__", TESTING}
    assert sorted(placed) == sorted(here), (
        "give each new module or subpackage a layer in LAYERS, and take gone ones out"
    )


def test_lower_layers_never_import_higher_ones() -> None:
    rank = {name: number for number, layer in enumerate(LAYERS) for name in layer}
    broken = [
        item
        for item in core()
        if item.layer in rank and place(item.file) in rank and rank[item.layer] > rank[place(item.file)]
    ]
    assert not broken, listed(broken)


def test_nothing_imports_testing() -> None:
    plugins = [item for name, home in PLUGINS.items() for path in (home / name).rglob("*.py") for item in imports(path)]
    outside = [item for item in core() if place(item.file) != TESTING]
    broken = [item for item in [*outside, *plugins] if item.layer == TESTING]
    assert not broken, listed(broken)


def test_only_the_heavy_rooms_import_frameworks() -> None:
    broken = [
        item
        for item in core()
        if third_party(item)
        and item.top not in {"numpy", "tomli"}
        and place(item.file) not in HEAVY_ROOMS | ROOMS.get(item.top, set())
    ]
    assert not broken, listed(broken)


def test_third_parties_are_imported_on_use() -> None:
    # A module of a heavy room may be all torch, but for those that are imported to list what there is.
    broken = [
        item
        for item in core()
        if third_party(item)
        and not item.late
        and place(item.file) not in AT_THE_TOP.get(item.top, set())
        and not (place(item.file) in HEAVY_ROOMS and item.file not in ENTERED)
    ]
    assert not broken, listed(broken)


def test_the_heavy_rooms_are_entered_on_use() -> None:
    broken = [
        item for item in core() if item.layer in HEAVY_ROOMS and place(item.file) not in HEAVY_ROOMS and not item.late
    ]
    assert not broken, listed(broken)


@pytest.mark.parametrize("plugin", [*PLUGINS, *EXAMPLES])
def test_plugins_import_the_contract_the_errors_and_nothing_else_of_edgekit(plugin: str) -> None:
    """The build side may read graphs and modules with `edgekit.frameworks`; which files those are has its own test."""
    public = {f"edgekit.plugin.{name}" for name in edgekit.plugin.__all__}
    files = sorted(((PLUGINS | EXAMPLES)[plugin] / plugin).rglob("*.py"))
    broken = [
        item
        for path in files
        for item in imports(path)
        if item.top == "edgekit" and item.module not in public and item.layer not in ("errors", "frameworks")
    ]
    assert files and not broken, listed(broken)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_import_their_runtime_and_numpy(plugin: str) -> None:
    imported = [item for path in sorted((PLUGINS[plugin] / plugin).rglob("*.py")) for item in imports(path)]
    assert imported, f"{plugin} has no module"
    allowed = {"edgekit", "numpy", plugin, *RUNTIMES[plugin]}
    foreign = [
        item
        for item in imported
        if third_party(item)
        and item.top not in allowed
        and item.top not in BUILD_SIDE_OF_PLUGINS.get(item.file.name, ())
    ]
    assert not foreign, listed(foreign)
    early = [item for item in imported if third_party(item) and item.top != plugin and not item.late]
    assert not early, "a plugin is imported to be listed, so these belong inside functions:" + listed(early)


@pytest.mark.parametrize("plugin", PLUGINS)
def test_plugins_never_import_each_other(plugin: str) -> None:
    others = set(PLUGINS) - {plugin}
    broken = [item for path in PLUGINS[plugin].rglob("*.py") for item in imports(path) if item.top in others]
    assert not broken, listed(broken)


def test_the_device_side_of_a_plugin_never_reaches_its_build_side() -> None:
    broken = []
    for plugin, folder in PLUGINS.items():
        build_side = {f"{plugin}.{Path(name).stem}" for name in BUILD_SIDE_OF_PLUGINS}
        broken += [
            item
            for name in DEVICE_SIDE_OF_PLUGINS
            if (folder / plugin / name).is_file()
            for item in imports(folder / plugin / name)
            if any(item.module.startswith(side) for side in build_side)
        ]
    assert not broken, listed(broken)


def test_only_the_build_side_of_a_plugin_enters_the_heavy_rooms() -> None:
    broken = [
        item
        for plugin, folder in PLUGINS.items()
        for path in sorted((folder / plugin).rglob("*.py"))
        for item in imports(path)
        if item.layer in HEAVY_ROOMS
        and path.name not in BUILD_SIDE_OF_PLUGINS
        and (path.name in DEVICE_SIDE_OF_PLUGINS or not item.late)
    ]
    assert not broken, listed(broken)


def test_the_core_names_the_vendors_of_its_plugins_in_one_table() -> None:
    """The backend describes itself; a vendor's name as a value elsewhere would be a rule about that vendor."""
    names = {word for runtimes in RUNTIMES.values() for word in runtimes} | {"nncf", "tensorrt-rtx", "onnxruntime-gpu"}
    names |= {plugin.replace("_", "-") for plugin in PLUGINS}
    exempt = {
        PACKAGE / "registry.py",  # the table of what to install
        PACKAGE / "device" / "facts.py",  # a fact that a device reports
        PACKAGE / "cli" / "diagnosis.py",  # onnxruntime as a package with telemetry
        PACKAGE / "cli" / "package_checks.py",  # onnxruntime as a library that sources and passes calibrate with
    }
    broken = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in sorted(set(PACKAGE.rglob("*.py")) - exempt)
        if place(path) not in HEAVY_ROOMS
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and node.value in names
    ]
    assert not broken, broken


def test_the_library_never_configures_logging() -> None:
    calls = {"basicConfig", "dictConfig", "fileConfig", "addHandler", "setLevel", "disable"}
    broken = []
    # A command line may say where its lines go; _quiet lowers the levels of third parties and restores them.
    exempt = {*(PACKAGE / "cli").rglob("*.py"), PACKAGE / "frameworks" / "quiet.py"}
    for path in sorted(set(PACKAGE.rglob("*.py")) - exempt):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in calls:
                owner = ast.unparse(node.func.value)
                if "log" in owner.lower():
                    broken.append(f"{path.relative_to(ROOT)}:{node.lineno} {owner}.{node.func.attr}")
    assert not broken, broken


def test_the_rules_see_each_kind_of_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Test the reader of imports itself, or every rule above could pass because it sees none."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "edgekit" / "bench" / "some.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import os.path\nfrom edgekit import cli\nfrom . import steady\nfrom ..spec import TensorSpec\n"
        "if TYPE_CHECKING:\n    import numpy\n"
        "def work():\n    with a:\n        import torch.nn as nn\n"
        "class B:\n    import rich\n"
    )
    assert [(item.module, item.late) for item in imports(file)] == [
        ("os.path", False),
        ("edgekit.cli", False),
        ("edgekit.bench.steady", False),
        ("edgekit.spec.TensorSpec", False),
        ("numpy", True),
        ("torch.nn", True),
        ("rich", False),
    ]
