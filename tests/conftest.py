"""What every test shares: a private cache and home, no network, and the real weights where they are."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.wording import Wording

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# A process that may not keep bytecode compiles edgekit again each time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
if "PYTEST_XDIST_WORKER" in os.environ:
    # With a core for each worker, a thread for each core would only stand in the other worker's way.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell starts background jobs with Ctrl-C ignored, and children inherit that: the tests of interruption would hang.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest.register_assert_rewrite("tests.processor_backend")

ROOT = Path(__file__).parent.parent
LAB = "tests/device_lab/"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--require", action="append", default=[], metavar="NAME", help="fail where tests would skip for want of NAME"
    )
    parser.addoption(
        "--part",
        choices=("together", "alone"),
        help="what shares the machine, or what is marked `alone`; not `nightly`",
    )
    parser.addoption("--nightly", action="store_true", help="with --part, tests that are marked `nightly` as well")
    parser.addoption("--rewrite-wording", action="store_true", help="write the texts of messages again: `make wording`")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Return a worker a core, up to four (each loads torch and the runtimes, about 1 GB), and none with `-s`."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 0 if config.getoption("capture") == "no" else min(cores, 4)


@pytest.fixture(scope="session")
def wording(request: pytest.FixtureRequest) -> Iterator[Wording]:
    """Compare texts with `fixtures/wording.txt`, or write that file with --rewrite-wording."""
    from tests.wording import Wording

    texts = Wording(rewrite=request.config.getoption("--rewrite-wording"))
    yield texts
    if texts.rewrite:
        config = request.config
        some = config.args_source != pytest.Config.ArgsSource.TESTPATHS or config.getoption("-k")
        texts.write(keep=bool(some or config.pluginmanager.get_plugin("terminalreporter").stats.get("skipped")))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip for want of what is required, `no NAME: why`, into a failure: CI passes for nothing it left out."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        for name in item.config.getoption("--require"):
            if reason.startswith(f"no {name}:"):
                report.outcome = "failed"
                report.longrepr = f"{reason} (required by --require {name})"
    return report


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what the options leave out, and let workers begin with the files that take long."""
    part, nightly = config.getoption("--part"), config.getoption("--nightly")
    wording = config.getoption("--rewrite-wording")

    def chosen(item: pytest.Item) -> bool:
        marks = {mark.name for mark in item.iter_markers()}
        if part and (("alone" in marks) != (part == "alone") or ("nightly" in marks and not nightly)):
            return False
        return not wording or "wording" in getattr(item, "fixturenames", ())

    config.hook.pytest_deselected(items=[item for item in items if not chosen(item)])
    items[:] = [item for item in items if chosen(item)]
    if hasattr(config, "workerinput"):
        whole = (LAB, "tests/e2e/")
        long = {item.path for item in items if item.get_closest_marker("slow") or item.nodeid.startswith(whole)}
        items.sort(key=lambda item: item.path not in long)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file on one worker, with what they share; all of the device lab, which shares its boards."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return LAB if nodeid.startswith(LAB) else super()._split_scope(nodeid)

    return ByFile(config, log)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Import what a test is marked to need, and skip it where that is not there."""
    for mark in item.iter_markers("needs"):
        for name in mark.args:
            pytest.importorskip(name)


@pytest.fixture(autouse=True)
def private_places(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the user's cache and config out of the tests, and the tests out of the user's."""
    base = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(base / "cache"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(base / "config"))
    monkeypatch.delenv("EDGEKIT_TARGETS", raising=False)


@pytest.fixture(scope="session")
def assets() -> Path:
    """Return the folder of real weights and data, or skip with the reason."""
    folder = Path(os.environ.get("EDGEKIT_TEST_ASSETS") or ROOT.parent / "shared" / "assets")
    if not folder.is_dir():
        pytest.skip(f"no test assets at {folder}; set EDGEKIT_TEST_ASSETS")
    return folder
