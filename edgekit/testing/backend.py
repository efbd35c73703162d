"""Test a backend: inherit BackendTests in a pytest module, with the backend and one tiny model.

class TestMyRuntime(BackendTests):
    runtime = ("myruntime",)

    @pytest.fixture
    def backend(self):
        return MyRuntime()

    def model(self, folder):
        ...  # write the linear layer in a format that the backend accepts

The model is built once for all tests that only read it.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from edgekit import registry
from edgekit._record import Record, digest_of_file
from edgekit.errors import ArtifactError, EdgekitError, EnvironmentFault, UnsupportedError, UsageError
from edgekit.model import Model
from edgekit.plugin import API, Backend, Built, Finishable, Payload, Precision, Probe, Session
from edgekit.testing._child import code_for, code_to_block, run_in_child
from edgekit.testing._linear import linear_bias, linear_weight
from edgekit.testing._optional import OptionalParts
from edgekit.testing._states import KeptStates
from edgekit.testing._threads import SharedSessions
from edgekit.testing.blocking import FRAMEWORKS

__all__ = ["BackendTests", "linear_bias", "linear_weight"]

REQUIREMENTS = {"arch", "isa", "isa_any", "packages"}


class BackendTests(OptionalParts, SharedSessions, KeptStates):
    """Test that a backend keeps the contract. Override `backend` and `model`; the rest where the backend differs."""

    runtime: ClassVar[tuple[str, ...]] = ()
    """Import names of the runtime: importing the plugin must not load them, and `probe` is tested without them."""
    build_side: ClassVar[tuple[str, ...]] = ()
    """Import names, in addition to the frameworks, that only building needs: the device side must work without them."""

    _once: ClassVar[tuple[Path, Model, Built]]

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend under test."""
        raise NotImplementedError("override the fixture `backend`")

    @pytest.fixture
    def work(self, backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Path:
        """Return a folder with the tiny model, in `model`, and its payload, in `built`: one for the class."""
        cls = type(self)
        if "_once" not in vars(cls):
            work = tmp_path_factory.mktemp("linear")
            model = self._model(work)
            cls._once = work, model, backend.build(model, self.target(), {}, self._empty(work / "built"))
        return cls._once[0]

    @pytest.fixture
    def tiny(self, work: Path) -> Model:
        """Return the tiny model, for tests that only read it."""
        return type(self)._once[1]

    @pytest.fixture
    def built(self, work: Path) -> Built:
        """Return the result of building it, for tests that only read it."""
        return type(self)._once[2]

    @pytest.fixture
    def payload(self, built: Built, tiny: Model, work: Path) -> Payload:
        """Return its payload, as in a bundle, for tests that only read it."""
        return Payload(work / "built", built.files, built.part or tiny.part, built.options, self.off_target)

    # Attributes

    def test_attributes_are_complete(self, backend: Backend) -> None:
        assert isinstance(backend, Backend)
        assert backend.api == API
        assert backend.name and backend.summary
        assert isinstance(backend.accepts, frozenset) and backend.accepts
        assert issubclass(backend.options, Record)
        assert dataclasses.is_dataclass(backend.options)
        assert backend.options.from_dict({}).to_dict() is not None, "every option needs a default"

    def test_entry_point_leads_to_it(self, backend: Backend) -> None:
        if backend.name in registry.names("backend"):
            assert type(registry.backend(backend.name)) is type(backend)

    def test_probe_finds_the_runtime_here(self, backend: Backend) -> None:
        probe = backend.probe()
        assert isinstance(probe, Probe)
        assert probe.available, f"{probe.problems}; {probe.hint}"
        assert probe.devices and probe.versions
        assert Probe.from_dict(json.loads(json.dumps(probe.to_dict()))) == probe

    def test_importing_and_planning_load_no_runtime(self, backend: Backend, tmp_path: Path) -> None:
        heavy = (*self.runtime, *self.build_side, *FRAMEWORKS)
        result = run_in_child(
            tmp_path / "home",
            f"{code_for(backend)}\n"
            "from edgekit.model import Model\n"
            "from edgekit.target.target import Target\n"
            "backend.supports(Model(sorted(backend.accepts)[0]), Target('t', 'a target'))\n"
            f"print(json.dumps([name for name in {heavy!r} if name in sys.modules]))",
        )
        assert result == []

    def test_probe_without_the_runtime_says_what_to_install(self, backend: Backend, tmp_path: Path) -> None:
        if not self.runtime:
            pytest.skip("the backend has no runtime of its own")
        result = run_in_child(
            tmp_path / "home",
            f"{code_to_block(self.runtime)}\n{code_for(backend)}\nprint(json.dumps(backend.probe().to_dict()))",
        )
        probe = Probe.from_dict(result)  # type: ignore[arg-type]  # JSON
        assert not probe.available
        assert probe.problems
        assert probe.hint and "install" in probe.hint

    def test_open_without_the_runtime_says_what_to_install(
        self, backend: Backend, payload: Payload, tmp_path: Path
    ) -> None:
        if not self.runtime:
            pytest.skip("the backend has no runtime of its own")
        result = run_in_child(
            tmp_path / "home",
            f"{code_to_block(self.runtime)}\n{code_for(backend)}\n"
            "from edgekit.errors import EnvironmentFault\n"
            "from edgekit.plugin import Payload\n"
            "try:\n"
            f"    backend.open(Payload.from_dict(json.loads({json.dumps(payload.to_dict())!r})))\n"
            "except EnvironmentFault as error:\n"
            "    print(json.dumps(error.hint))",
        )
        assert isinstance(result, str) and "install" in result

    # supports: the core calls it, and builds only what is supported

    def test_supports_the_tiny_model(self, backend: Backend, tiny: Model) -> None:
        assert backend.supports(tiny, self.target()).problems == ()

    def test_supports_takes_a_model_without_parts(self, backend: Backend) -> None:
        assert backend.supports(Model(sorted(backend.accepts)[0]), self.target()).problems == ()

    def test_supports_refuses_an_unknown_format(self, backend: Backend, tiny: Model) -> None:
        support = backend.supports(dataclasses.replace(tiny, format="clay-tablet"), self.target())
        assert not support.ok
        assert "clay-tablet" in " ".join(support.problems)

    # build

    def test_build_lists_what_it_wrote(self, backend: Backend, built: Built, payload: Payload) -> None:
        folder, part = payload.folder, payload.part
        assert built.files
        assert {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} == set(built.files)
        for ours, theirs in ((self.inputs, part.inputs), (self.outputs, part.outputs)):
            assert [(spec.name, spec.dtype, len(spec.shape)) for spec in theirs] == [
                (spec.name, spec.dtype, len(spec.shape)) for spec in ours
            ], "a compiler may fix sizes, nothing else"
        assert set(built.requires) <= REQUIREMENTS
        assert Built.from_dict(json.loads(json.dumps(built.to_dict()))) == built
        backend.options.from_dict(built.options)

    def test_build_leaves_its_input_alone(self, backend: Backend, tmp_path: Path) -> None:
        model = self._model(tmp_path)
        before = {path: digest_of_file(path) for path in model.files()}
        backend.build(model, self.target(), {}, self._empty(tmp_path / "built"))
        assert {path: digest_of_file(path) for path in model.files()} == before

    def test_build_refuses_an_unknown_option(self, backend: Backend, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no_such_option"):
            backend.build(self._model(tmp_path), self.target(), {"no_such_option": 1}, self._empty(tmp_path / "built"))
        assert not any((tmp_path / "built").iterdir())

    # finish, of a backend whose engines run only on their device

    def test_finish_compiles_what_build_prepared(
        self, backend: Backend, built: Built, payload: Payload, tmp_path: Path
    ) -> None:
        if not isinstance(backend, Finishable):
            pytest.skip("the backend compiles in `build`")
        assert built.portable, "a payload that is finished on the device is portable"
        work = self._empty(tmp_path / "finished")
        try:
            finished = backend.finish(payload, self.target(), work)
        except EnvironmentFault as fault:
            pytest.skip(f"this machine is not a device of the backend: {fault.message}")
        assert not finished.portable
        assert finished.evidence == "built_on_device"
        assert {name for name in finished.files if not (work / name).is_file()} == set()
        compiled = Payload(work, finished.files, finished.part or payload.part, finished.options)
        with closing(backend.open(compiled)) as session:
            self._assert_close(session.run(self.feeds()), self.expected(self.feeds()))

    # run

    def test_run_gives_the_right_outputs(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            assert isinstance(session, Session)
            assert (session.inputs, session.outputs) == (payload.part.inputs, payload.part.outputs)
            for seed in range(3):
                feeds = self.feeds(seed)
                self._assert_close(session.run(feeds), self.expected(feeds))

    def test_outputs_belong_to_the_caller(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            first = session.run(self.feeds(1))
            session.run(self.feeds(2))
            session.bind(self.feeds(3))()
            self._assert_close(first, self.expected(self.feeds(1)))
        self._assert_close(first, self.expected(self.feeds(1)))
        for array in first.values():
            array[...] = 0  # writable

    def test_feeds_may_be_strided_and_do_not_change(self, backend: Backend, payload: Payload) -> None:
        import numpy as np

        feeds = {name: np.asfortranarray(array) for name, array in self.feeds().items()}
        copies = {name: array.copy() for name, array in feeds.items()}
        with closing(backend.open(payload)) as session:
            self._assert_close(session.run(feeds), self.expected(copies))
            session.bind(feeds)()
        for name, copy in copies.items():
            assert np.array_equal(feeds[name], copy)

    @pytest.mark.parametrize("fault", ["missing", "unknown", "dtype", "rank"])
    @pytest.mark.parametrize("verb", ["run", "bind"])
    def test_bad_feeds_are_usage_errors(self, backend: Backend, payload: Payload, fault: str, verb: str) -> None:
        feeds = self.feeds()
        name = next(iter(feeds))
        if fault == "missing":
            del feeds[name]
        elif fault == "unknown":
            feeds["no_such_input"] = feeds[name]
        elif fault == "dtype":
            feeds[name] = feeds[name].astype("complex64")
        else:
            feeds[name] = feeds[name][None]
        with closing(backend.open(payload)) as session:
            with pytest.raises(UsageError, match="no_such_input" if fault == "unknown" else name):
                getattr(session, verb)(feeds)
            self._assert_close(session.run(self.feeds()), self.expected(self.feeds()))

    def test_bound_call_can_be_repeated_between_runs(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            call = session.bind(self.feeds(1))
            for seed in range(3):
                assert call() is None
                self._assert_close(session.run(self.feeds(seed)), self.expected(self.feeds(seed)))

    def test_sessions_do_not_disturb_each_other(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as first, closing(backend.open(payload)) as other:
            self._assert_close(first.run(self.feeds(1)), self.expected(self.feeds(1)))
            self._assert_close(other.run(self.feeds(2)), self.expected(self.feeds(2)))

    # Precision and layer times

    def test_the_runtime_reports_the_precision(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            precision = session.precision
        assert isinstance(precision, Precision)
        assert precision.main in {"f32", "f16", "bf16", "i8"}
        assert precision.layers.get(precision.main, 0) > 0

    def test_profile_times_layers_or_is_unsupported(self, backend: Backend, payload: Payload) -> None:
        with closing(backend.open(payload)) as session:
            try:
                layers = session.profile(self.feeds())
            except UnsupportedError as error:
                assert error.message
                return
        assert layers
        assert all(layer.name and layer.kind and layer.precision and layer.time_ms >= 0 for layer in layers)
        assert any(layer.time_ms > 0 for layer in layers)

    # Closing, and damaged payloads

    def test_closed_session_refuses_work(self, backend: Backend, payload: Payload) -> None:
        session = backend.open(payload)
        call = session.bind(self.feeds())
        session.close()
        session.close()
        for use in (lambda: session.run(self.feeds()), lambda: session.bind(self.feeds()), call):
            with pytest.raises(EdgekitError, match="closed"):
                use()

    @pytest.mark.parametrize("damage", ["truncated", "garbage", "empty", "missing"])
    def test_damaged_payload_is_an_artifact_error(
        self, backend: Backend, payload: Payload, tmp_path: Path, damage: str
    ) -> None:
        payload = dataclasses.replace(payload, folder=shutil.copytree(payload.folder, tmp_path / "damaged"))
        if damage == "missing":
            payload.main.unlink()
        else:
            data = payload.main.read_bytes()
            payload.main.write_bytes(
                {"truncated": data[: len(data) // 2], "garbage": b"\x00\xffgarbage" * 99}.get(damage, b"")
            )
        with pytest.raises(ArtifactError):
            backend.open(payload)

    def test_device_side_needs_no_framework_and_no_home(
        self, backend: Backend, payload: Payload, tmp_path: Path
    ) -> None:
        import numpy as np

        feeds = self.feeds()
        np.savez(tmp_path / "feeds.npz", **feeds)  # type: ignore[arg-type]  # its stub takes keywords for allow_pickle
        result = run_in_child(
            tmp_path / "home",
            f"{code_to_block(FRAMEWORKS + self.build_side)}\n{code_for(backend)}\n"
            "from contextlib import closing\n"
            "import numpy as np\n"
            "from edgekit.plugin import Payload\n"
            f"payload = Payload.from_dict(json.loads({json.dumps(payload.to_dict())!r}))\n"
            f"feeds = dict(np.load({str(tmp_path / 'feeds.npz')!r}))\n"
            "with closing(backend.open(payload)) as session:\n"
            "    outputs = session.run(feeds)\n"
            "    session.bind(feeds)()\n"
            "print(json.dumps({name: array.tolist() for name, array in outputs.items()}))",
        )
        assert isinstance(result, dict)
        expected = self.expected(feeds)
        self._assert_close({name: np.asarray(v, expected[name].dtype) for name, v in result.items()}, expected)
