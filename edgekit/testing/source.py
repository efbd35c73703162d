"""Test a source: inherit SourceTests in a pytest module, with the source and references, good and bad.

class TestMySource(SourceTests):
    def source(self):
        return MySource()

    def reference(self, folder):
        ...  # write a small model into `folder`, return the Reference to it

    def bad_references(self, folder):
        return {"missing": Reference("mine:nothing")}
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgekit import registry
from edgekit._requirement import installed
from edgekit.errors import EdgekitError, UsageError
from edgekit.model import Model, Reference
from edgekit.plugin import Source
from edgekit.testing._child import code_to_block, run_in_child
from edgekit.testing.blocking import FRAMEWORKS

if TYPE_CHECKING:
    import numpy as np


class SourceTests:
    """Test that a source keeps the contract. Override `source`, `reference` and `bad_references`, and `feeds`."""

    def source(self) -> Any:
        """Return the source under test."""
        raise NotImplementedError("return the source")

    def reference(self, folder: Path) -> Reference:
        """Write a small model into `folder` (exists, empty) and return the reference to it; equal on every call."""
        raise NotImplementedError("return a reference")

    def bad_references(self, folder: Path) -> dict[str, Reference]:
        """Return references of this source's form with a fault that `check` finds, by a name of the fault."""
        raise NotImplementedError("return faulty references")

    def feeds(self) -> dict[str, np.ndarray] | None:
        """Return inputs for the original model; None skips running it."""
        return None

    # Attributes

    def test_attributes_are_complete(self) -> None:
        source = self.source()
        assert isinstance(source, Source)
        assert source.scheme and source.scheme == source.scheme.lower()
        assert isinstance(source.packages, tuple)
        assert all(installed(name) for name in source.packages), "list distributions, by their names on PyPI"

    def test_entry_point_leads_to_it(self) -> None:
        source = self.source()
        if source.scheme in registry.names("source"):
            assert type(source) in {type(known) for known in registry.sources()}

    def test_claims_its_own_and_nothing_else(self, tmp_path: Path) -> None:
        source = self.source()
        assert source.claims(self._reference(tmp_path).ref)
        for foreign in ("", "no such model", "nosuchscheme:thing", str(tmp_path / "nothing-here")):
            assert not source.claims(foreign)

    # Before loading

    def test_check_accepts_a_good_reference(self, tmp_path: Path) -> None:
        assert self.source().check(self._reference(tmp_path)) is None

    def test_check_raises_for_every_fault(self, tmp_path: Path) -> None:
        faults = self.bad_references(self._empty(tmp_path / "bad"))
        assert faults
        for fault, reference in faults.items():
            with pytest.raises(UsageError) as caught:
                self.source().check(reference)
            assert caught.value.message, fault

    def test_digest_follows_the_reference(self, tmp_path: Path) -> None:
        source, reference = self.source(), self._reference(tmp_path)
        digest = source.digest(reference)
        if digest is None:
            pytest.skip("the digest is known only after loading")
        assert source.digest(reference) == digest
        assert source.digest(replace(reference, task="another-task")) != digest

    def test_checks_need_no_framework(self, tmp_path: Path) -> None:
        reference = self._reference(tmp_path)
        cls = type(self.source())
        result = run_in_child(
            tmp_path / "home",
            f"{code_to_block(FRAMEWORKS)}\n"
            f"from {cls.__module__} import {cls.__qualname__} as _class\n"
            "from edgekit.model import Reference\n"
            f"reference = Reference.from_dict(json.loads({json.dumps(reference.to_dict())!r}))\n"
            "source = _class()\n"
            "source.check(reference)\n"
            "print(json.dumps([source.claims(reference.ref), source.digest(reference)]))",
        )
        assert result == [True, self.source().digest(reference)]

    # Loading

    def test_loads_a_model_with_its_original(self, tmp_path: Path) -> None:
        model = self._loaded(tmp_path)
        assert isinstance(model, Model)
        assert model.format == self.source().gives
        assert model.original is not None and model.original.framework
        assert model.module is not None or model.parts, "neither a module nor a graph"
        for part in model.parts:
            assert (model.folder / part.file).is_file()

    def test_leaves_the_reference_alone(self, tmp_path: Path) -> None:
        reference = self._reference(tmp_path)
        before = self._tree(tmp_path / "given")
        self.source().load(reference, self._empty(tmp_path / "work"))
        assert self._tree(tmp_path / "given") == before

    def test_assets_folder_is_not_left_empty(self, tmp_path: Path) -> None:
        assets = self._loaded(tmp_path).assets
        assert not assets.exists() or any(assets.iterdir())

    def test_original_runs_and_repeats_itself(self, tmp_path: Path) -> None:
        import numpy as np

        feeds = self.feeds()
        if feeds is None:
            pytest.skip("`feeds` returns None")
        original = self._loaded(tmp_path).original
        assert original is not None
        first, second = original.run(feeds), original.run(feeds)
        assert first and set(first) == set(second)
        for name, array in first.items():
            assert isinstance(array, np.ndarray)
            assert np.array_equal(array, second[name])

    def test_loading_a_faulty_reference_is_an_edgekit_error(self, tmp_path: Path) -> None:
        for reference in self.bad_references(self._empty(tmp_path / "bad")).values():
            with pytest.raises(EdgekitError):
                self.source().load(reference, self._empty(tmp_path / "work"))

    # Helpers

    def _empty(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _reference(self, tmp_path: Path) -> Reference:
        return self.reference(self._empty(tmp_path / "given"))

    def _loaded(self, tmp_path: Path) -> Model:
        model: Model = self.source().load(self._reference(tmp_path), self._empty(tmp_path / "work"), lambda: None)
        return model

    def _tree(self, folder: Path) -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
