"""Test a pass on torch modules: inherit TorchPassTests in a pytest module, with the pass and a small module.

class TestMyPass(TorchPassTests):
    def subject(self):
        return MyPass()

    def module(self):
        return net, example_inputs  # as `package.module:factory` returns them: the same each time
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from edgekit import registry
from edgekit._record import Record
from edgekit.data import Feeds, Sample, Samples, TrainingData
from edgekit.errors import EdgekitError, UsageError
from edgekit.model import ASSETS, Model, Reference
from edgekit.plugin import Pruning, Trainable, Training
from edgekit.progress import Progress, Silent, Tick
from edgekit.spec import MODEL, Call, TensorSpec
from edgekit.testing.passes import PassAttributeTests

if TYPE_CHECKING:
    import numpy as np


class TorchPassTests(PassAttributeTests):
    """Test that a pass on torch modules keeps the contract. Override `subject` and `module`, the others as needed.

    Configure the pass for short runs: one that trains is run about ten times.
    """

    resumes = True
    """Whether a training that was killed continues from a checkpoint, and does not start again."""

    def module(self) -> Any:
        """Return a small module for the pass, and its example inputs, (module, inputs); equal on every call."""
        raise NotImplementedError("return a small module")

    def unfit(self) -> Any:
        """Return a module with the same input names that the pass does not support; None where it supports all."""
        return None

    def feeds(self, inputs: Sequence[TensorSpec]) -> list[dict[str, np.ndarray]]:
        """Return feeds to train and calibrate on, each of one sample: here 24 of random numbers."""
        import numpy

        generator = numpy.random.default_rng(0)
        return [
            {spec.name: generator.standard_normal(spec.resolve({})).astype(spec.numpy_dtype) for spec in inputs}
            for _ in range(24)
        ]

    def labels(self) -> Sequence[int] | None:
        """Return the class of each of the feeds; None for a pass that needs none."""
        return None

    # Attributes

    def test_it_works_before_the_export(self) -> None:
        subject = self.subject()
        assert subject.accepts == {"torch"} and subject.gives == "torch"
        if self._trains:
            assert isinstance(subject, Trainable)

    # Its result

    def test_gives_another_module_in_evaluation_mode(self, tmp_path: Path) -> None:
        from edgekit.frameworks import torch_pass

        model = self._model(tmp_path)
        result = self._applied(model, tmp_path)
        module = torch_pass.module_of(result)
        assert _digest(result) != _digest(model), "it changed nothing"
        assert not any(part.training for part in module.modules()), "left in training mode"
        assert all(parameter.grad is None for parameter in module.parameters()), "left with gradients"
        assert result.original is not None
        assert result.original.module is module, "return what torch_pass.changed returns"  # type: ignore[attr-defined]
        assert result.info.parameters == sum(parameter.numel() for parameter in module.parameters())

    def test_keeps_inputs_and_outputs(self, tmp_path: Path) -> None:
        import numpy

        model = self._model(tmp_path)
        result = self._applied(model, tmp_path)
        for feed in self.feeds(_inputs(model))[:2]:
            before, after = (_outputs(each, feed) for each in (model, result))
            assert {name: (array.shape, array.dtype) for name, array in after.items()} == {
                name: (array.shape, array.dtype) for name, array in before.items()
            }
            for name, array in after.items():
                assert numpy.isfinite(array).all(), f"'{name}' is not finite"

    def test_what_it_gives_can_be_exported(self, tmp_path: Path) -> None:
        result = self._applied(self._model(tmp_path), tmp_path)
        folder = self._empty(tmp_path / "graph")
        exported = registry.pass_type("export")().apply(result, None, folder)
        feed = self.feeds(_inputs(result))[0]
        assert {spec.name for spec in exported.part.inputs} == set(feed)
        assert {spec.name for spec in exported.part.outputs} == set(_outputs(result, feed))
        assert [step.name for step in exported.steps] == [self.subject().name, "export"]

    def test_leaves_its_input_alone(self, tmp_path: Path) -> None:
        model = self._model(tmp_path)  # which is the teacher too
        before = _state(model)
        self._applied(model, tmp_path)
        assert _state(model) == before

    def test_keeps_assets_and_task(self, tmp_path: Path) -> None:
        model = self._model(tmp_path)
        (self._empty(model.assets) / "labels.txt").write_text("one\ntwo\n")
        before = {path.name for path in (model.folder / ASSETS).iterdir()}
        result = self._applied(model, tmp_path)
        assert (result.folder, result.task, result.format) == (model.folder, model.task, "torch")
        assert {path.name for path in result.assets.iterdir()} == before

    def test_writes_no_file_of_its_own(self, tmp_path: Path) -> None:
        self._applied(self._model(tmp_path), tmp_path)
        assert not any((tmp_path / "work").iterdir()), "a training's files go into training.folder"
        assert {path.name for path in tmp_path.iterdir()} <= {"model", "work", "training"}

    def test_adds_one_line_of_lineage(self, tmp_path: Path) -> None:
        model, subject = self._model(tmp_path), self.subject()
        result = self._applied(model, tmp_path)
        assert result.steps[:-1] == model.steps
        step = result.steps[-1]
        self._check_step(step, subject)
        assert (step.before, step.after) == (_digest(model), _digest(result))

    def test_a_pruned_module_is_smaller(self, tmp_path: Path) -> None:
        subject = self.subject()
        if not (isinstance(subject, Pruning) and subject.prunes):
            pytest.skip("the pass does not prune")
        model = self._model(tmp_path)
        before, after = model.info.parameters, self._applied(model, tmp_path).info.parameters
        assert before is not None and after is not None and after < before

    # Repeatability

    def test_equal_inputs_give_equal_weights(self, tmp_path: Path) -> None:
        import torch

        results = []
        for number in range(2):
            place = self._empty(tmp_path / str(number))
            model = self._model(place)
            torch.manual_seed(number)  # the result must not depend on global random numbers
            results.append(_result(self._applied(model, place)))
        assert results[0] == results[1]

    def test_a_kill_changes_nothing(self, tmp_path: Path) -> None:
        self._needs_training()
        model, whole = self._model(tmp_path), _Moments(tmp_path / "training", tmp_path / "kept")
        expected = _result(self._applied(model, tmp_path, whole))
        assert whole.count > 1, "a pass that trains reports its progress by training.progress"
        for moment in sorted({whole.count // 2, whole.count}):
            left = tmp_path / "kept" / str(moment)
            again = _Moments(left)
            result = self._apply(model, tmp_path / "work", left, again)
            assert _result(result) == expected, f"killed at moment {moment} of {whole.count}"
        if self.resumes:
            assert again.count < whole.count, (
                "killed near the end it started again: keep checkpoints in training.folder"
            )

    # What it does not support

    def test_training_data_is_demanded_when_needed(self, tmp_path: Path) -> None:
        self._needs_training()
        model = self._model(tmp_path)
        self._refused(tmp_path, lambda work: self.subject().apply(model, self._samples(model), work))

    def test_samples_are_demanded_when_needed(self, tmp_path: Path) -> None:
        if not self.subject().needs_samples:
            pytest.skip("the pass needs no samples")
        model = self._model(tmp_path)
        more = (self._training(model, tmp_path / "training", Silent()),) if self._trains else ()
        self._refused(tmp_path, lambda work: self.subject().apply(model, None, work, *more))

    def test_refuses_what_it_does_not_support(self, tmp_path: Path) -> None:
        if self.unfit() is None:
            pytest.skip("the pass supports every module")
        model = self.model(self.unfit(), self._empty(tmp_path / "model"))
        self._refused(tmp_path, lambda work: self._apply(model, work, tmp_path / "training"), EdgekitError)

    # Helpers

    def model(self, module: Any, folder: Path) -> Model:
        """Load the module as an export does."""
        from edgekit.sources.torch_module import load_module

        return load_module(module, Reference("module"), folder)

    @property
    def _trains(self) -> bool:
        subject = self.subject()
        return isinstance(subject, Trainable) and subject.trains

    def _needs_training(self) -> None:
        if not self._trains:
            pytest.skip("the pass does not train")

    def _empty(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _model(self, place: Path) -> Model:
        return self.model(self.module(), self._empty(place / "model"))

    def _samples(self, model: Model) -> Feeds | None:
        return Feeds.from_arrays(self.feeds(_inputs(model))) if self.subject().needs_samples else None

    def _training(self, model: Model, folder: Path, progress: Progress) -> Training:
        labels = self.labels()
        samples = Samples.from_feeds(self.feeds(_inputs(model)), labels)
        data = TrainingData(samples, _Arrays(), "outputs" if labels is None else "classes")
        return Training(data, model, self._empty(folder), progress)

    def _applied(self, model: Model, place: Path, progress: Progress | None = None) -> Model:
        return self._apply(model, place / "work", place / "training", progress)

    def _apply(self, model: Model, work: Path, folder: Path, progress: Progress | None = None) -> Model:
        more = (self._training(model, folder, progress or Silent()),) if self._trains else ()
        result: Model = self.subject().apply(model, self._samples(model), self._empty(work), *more)
        return result

    def _refused(self, tmp_path: Path, act: Callable[[Path], object], kind: type[EdgekitError] = UsageError) -> None:
        work = self._empty(tmp_path / "work")
        with pytest.raises(kind) as refused:
            act(work)
        assert refused.value.message and refused.value.hint, "give a message, and what to do next (hint=)"
        assert not any(work.iterdir())


class _Arrays:
    """Training samples that are arrays already."""

    config = Record()

    def steps(self, sample: Sample) -> Generator[Call, Mapping[str, np.ndarray], None]:
        yield MODEL, dict(sample.fields)

    def label(self, raw: Any) -> int:
        return int(raw)


class _Moments(Silent):
    """Count the reports of progress, and at each keep a copy of the training's folder, as a kill would leave it."""

    def __init__(self, folder: Path, kept: Path | None = None) -> None:
        self.count = 0
        self._folder, self._kept = folder, kept

    @contextmanager
    def step(self, title: str, total: int | None = None) -> Iterator[Tick]:
        self._tick()
        yield self._tick

    def _tick(self, count: int = 1, detail: str = "") -> None:
        self.count += 1
        if self._kept is not None:
            shutil.copytree(self._folder, self._kept / str(self.count))


def _inputs(model: Model) -> tuple[TensorSpec, ...]:
    """Return the inputs of a plain module; none of one of transformers, for which the author overrides `feeds`."""
    return tuple(getattr(model.module, "specs", ()))


def _outputs(model: Model, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    assert model.original is not None
    return model.original.run(feed)


def _digest(model: Model) -> str:
    from edgekit.frameworks import torch_pass

    return torch_pass.digest_of(torch_pass.module_of(model))


def _result(model: Model) -> tuple[str, tuple[str, ...]]:
    """Return the parts of a pass's result that must be repeatable: the weights' bytes and the notes."""
    return _digest(model), model.steps[-1].notes


def _state(model: Model) -> list[object]:
    """Return all of a module that a pass must not change."""
    from edgekit.frameworks import torch_pass

    module = torch_pass.module_of(model)
    asks = [(name, parameter.requires_grad, parameter.grad is None) for name, parameter in module.named_parameters()]
    return [_digest(model), asks, [part.training for part in module.modules()]]
