"""Test a pass on graphs: inherit PassTests in a pytest module, with the pass and a small model.

class TestMyPass(PassTests):
    def subject(self):
        return MyPass()

    def model(self, folder):
        ...  # write a small model in a format that the pass accepts
"""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import pytest

from edgekit import registry
from edgekit._record import Record, digest_of_file
from edgekit._requirement import installed
from edgekit.data import Feeds
from edgekit.errors import UsageError
from edgekit.model import ASSETS, RECORD_FILE, Model, Step
from edgekit.plugin import Pass


class PassAttributeTests:
    """Test that a pass's attributes and config keep the contract, on graphs and on torch modules."""

    def subject(self) -> Any:
        """Return the pass under test, configured."""
        raise NotImplementedError("return the pass")

    def test_attributes_are_complete(self) -> None:
        subject = self.subject()
        assert isinstance(subject, Pass)
        assert isinstance(subject, Record)
        assert dataclasses.is_dataclass(subject)
        assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", subject.name)
        assert isinstance(subject.accepts, frozenset) and subject.accepts
        assert subject.gives
        assert isinstance(subject.needs_samples, bool)
        assert isinstance(subject.packages, tuple)
        assert all(installed(name) for name in subject.packages), "list distributions, by their names on PyPI"

    def test_it_cannot_be_changed(self) -> None:
        subject = self.subject()
        for field in dataclasses.fields(subject):
            with pytest.raises(dataclasses.FrozenInstanceError):
                setattr(subject, field.name, None)
        assert type(subject).__dataclass_params__.frozen

    def test_entry_point_leads_to_it(self) -> None:
        subject = self.subject()
        if subject.name in registry.names("pass"):
            assert registry.pass_type(subject.name) is type(subject)

    def test_config_survives_json(self) -> None:
        subject = self.subject()
        assert type(subject).from_dict(json.loads(json.dumps(subject.to_dict()))) == subject

    def test_config_refuses_an_unknown_key(self) -> None:
        with pytest.raises(UsageError, match="no_such_setting"):
            type(self.subject()).from_dict({"no_such_setting": 1})

    def _check_step(self, step: Step, subject: Any) -> None:
        """Compare the step that the pass added to the lineage with the pass."""
        assert step.name == subject.name
        assert json.loads(json.dumps(step.config)) == subject.to_dict()
        assert step.tools, "the tools and their versions are part of the lineage"
        assert set(step.tools) <= {*subject.packages, "numpy"}, (
            "list the packages that it uses in `packages`: they are part of the cache's key"
        )
        assert step.seconds >= 0


class PassTests(PassAttributeTests):
    """Test that a pass on graphs keeps the contract. Override `subject` and `model`, and `samples` for one that
    calibrates.
    """

    repeatable = True
    """Whether equal inputs give equal bytes; the cache and every digest depend on it."""

    def model(self, folder: Path) -> Model:
        """Write a model that the pass accepts into `folder` (exists, empty)."""
        raise NotImplementedError("write a small model")

    def samples(self) -> Feeds | None:
        """Return feeds of the model, for a pass that needs them."""
        return None

    # Its result

    def test_gives_the_format_it_names(self, tmp_path: Path) -> None:
        result = self._applied(tmp_path)
        assert result.format == self.subject().gives
        assert result.parts, "the model has no graph"
        for part in result.parts:
            assert (result.folder / part.file).is_file()

    def test_writes_into_its_own_folder_only(self, tmp_path: Path) -> None:
        result = self._applied(tmp_path)
        assert result.folder == tmp_path / "made"
        assert {path.name for path in tmp_path.iterdir()} == {"model", "made"}

    def test_leaves_its_input_alone(self, tmp_path: Path) -> None:
        model = self._model(tmp_path)
        before = {path: digest_of_file(path) for path in model.files()}
        self.subject().apply(model, self.samples(), self._empty(tmp_path / "made"))
        assert {path: digest_of_file(path) for path in model.files()} == before

    def test_keeps_assets_and_task(self, tmp_path: Path) -> None:
        model = self._model(tmp_path)
        self._empty(model.assets)
        (model.assets / "labels.txt").write_text("one\ntwo\n")
        result = self.subject().apply(model, self.samples(), self._empty(tmp_path / "made"))
        assert (result.folder / ASSETS / "labels.txt").read_text() == "one\ntwo\n"
        assert result.task == model.task

    def test_adds_one_line_of_lineage(self, tmp_path: Path) -> None:
        model, subject = self._model(tmp_path), self.subject()
        result = subject.apply(model, self.samples(), self._empty(tmp_path / "made"))
        assert result.steps[:-1] == model.steps
        step = result.steps[-1]
        self._check_step(step, subject)
        fresh = dataclasses.replace(result)  # a copy, whose digest is computed of the files as they are now
        assert (step.before, step.after) == (model.digest, fresh.digest)

    def test_the_model_it_gives_can_be_saved_and_loaded(self, tmp_path: Path) -> None:
        result = self._applied(tmp_path)
        assert not (result.folder / RECORD_FILE).exists(), "the pipeline saves the record"
        result.save()
        again = Model.load(result.folder)
        assert (again.parts, again.precision, again.digest) == (result.parts, result.precision, result.digest)

    def test_equal_inputs_give_equal_bytes(self, tmp_path: Path) -> None:
        if not self.repeatable:
            pytest.skip("`repeatable` is False")
        first = self.subject().apply(self._model(tmp_path), self.samples(), self._empty(tmp_path / "one"))
        other = self.subject().apply(self._model(tmp_path), self.samples(), self._empty(tmp_path / "other"))
        assert first.digest == other.digest

    def test_samples_are_demanded_when_needed(self, tmp_path: Path) -> None:
        if not self.subject().needs_samples:
            pytest.skip("the pass needs no samples")
        with pytest.raises(UsageError):
            self.subject().apply(self._model(tmp_path), None, self._empty(tmp_path / "made"))
        assert not any((tmp_path / "made").iterdir())

    # Helpers

    def _empty(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _model(self, tmp_path: Path) -> Model:
        return self.model(self._empty(tmp_path / "model"))

    def _applied(self, tmp_path: Path) -> Model:
        result: Model = self.subject().apply(self._model(tmp_path), self.samples(), self._empty(tmp_path / "made"))
        return result
