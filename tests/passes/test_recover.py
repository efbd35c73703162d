"""Recovery: a damaged network learns to match its original's outputs, the same each time, killed or not."""

from __future__ import annotations

import copy
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from edgekit.data import Samples, TrainingData
from edgekit.errors import BuildError, UsageError
from edgekit.model import Model, Reference
from edgekit.plugin import Training
from edgekit.progress import Silent
from edgekit.tasks.config import ImageConfig, TaskConfig
from tests.wording import mentions, raises

torch = pytest.importorskip("torch")

from edgekit.frameworks import torch_pass  # noqa: E402  # they need torch
from edgekit.passes.train import training_run  # noqa: E402
from edgekit.passes.train.batches import BatchSchedule, augmented, kept_outputs  # noqa: E402
from edgekit.passes.train.distil import Distillation  # noqa: E402
from edgekit.passes.train.recover import recover  # noqa: E402
from edgekit.passes.train.recovery import Recovery  # noqa: E402
from edgekit.sources.torch_module import load_module  # noqa: E402

bars = SimpleNamespace(**runpy.run_path(str(Path(__file__).parent / "bars.py")))

QUICK = Recovery(epochs=4, batch_size=16, shift=0.0)


def task():
    from edgekit import tasks
    from edgekit.spec import TensorSpec

    config = TaskConfig("image-classification", image=ImageConfig(input="x", size=(8, 8)))
    return tasks.load(config, Path(), (TensorSpec("x", "f32", ("batch", 1, 8, 8)),))


def data(count: int = 96, *, labelled: bool = True) -> TrainingData:
    images, labels = bars.pictures(count, 1)
    samples = Samples.from_feeds([{"x": image[None]} for image in images], list(labels) if labelled else None)
    return TrainingData(samples, task(), "classes", None, "x")


@pytest.fixture(scope="module")
def trained() -> torch.nn.Module:
    return bars.trained()


@pytest.fixture
def model(trained, tmp_path: Path) -> Model:
    return load_module((trained, torch.zeros(1, 1, 8, 8)), Reference("net"), tmp_path)


def damaged(model: Model) -> Model:
    """Return the model with a part of its maps damaged, as pruning does."""
    net = copy.deepcopy(torch_pass.module_of(model))
    with torch.no_grad():
        net.conv.weight[:6] = 0
        net.norm.bias[:6] += torch.tensor([3.0, -3.0]).repeat(3)
    return torch_pass.with_module(model, net)


def training(model: Model, folder: Path, **options) -> Training:
    folder.mkdir(exist_ok=True)
    return Training(options.pop("data", None) or data(), model, folder, options.pop("progress", Silent()), **options)


def accuracy(model: Model) -> float:
    images, labels = bars.pictures(400, 9)
    with torch.no_grad():
        return float((torch_pass.module_of(model)(torch.from_numpy(images)).argmax(1).numpy() == labels).mean())


def distance(model: Model, other: Model) -> float:
    images = torch.from_numpy(bars.pictures(400, 9)[0])
    with torch.no_grad():
        a, b = (torch_pass.module_of(each)(images).softmax(-1) for each in (model, other))
    return float((a - b).norm() / b.norm())


def test_a_damaged_network_recovers(model: Model, tmp_path: Path) -> None:
    student = damaged(model)
    before = torch_pass.digest_of(torch_pass.module_of(student)), torch_pass.digest_of(torch_pass.module_of(model))
    settings = Recovery(epochs=15, batch_size=16, shift=0.0, learning_rate=5e-3)
    recovered = recover(student, training(model, tmp_path / "t"), settings, stage="s")
    assert accuracy(model) > 0.95
    assert accuracy(student) < accuracy(recovered.model) - 0.1, "there was accuracy to recover"
    assert accuracy(recovered.model) > accuracy(model) - 0.03
    assert distance(recovered.model, model) < distance(student, model) / 2
    assert recovered.steps == 90 and recovered.last_loss < recovered.first_loss
    assert mentions(recovered.note, "90 steps", "96 samples")
    assert before == (
        torch_pass.digest_of(torch_pass.module_of(student)),
        torch_pass.digest_of(torch_pass.module_of(model)),
    )
    net = torch_pass.module_of(recovered.model)
    assert not net.training and all(parameter.grad is None for parameter in net.parameters())
    assert recovered.model.original.module is net


@pytest.mark.parametrize("settings", [QUICK, Recovery(epochs=2, batch_size=16, mirror=True, optimizer="sgd")])
def test_equal_seeds_give_equal_weights(model: Model, tmp_path: Path, settings: Recovery) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    digests = [
        torch_pass.digest_of(
            torch_pass.module_of(
                recover(damaged(model), training(model, tmp_path / name, seed=seed), settings, stage="s").model
            )
        )
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    ]
    assert digests[0] == digests[1] != digests[2]
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers were touched"


class Killed(BaseException):
    pass


class Kills(Silent):
    """A progress that raises at a step, as if the process were killed."""

    def __init__(self, at: int) -> None:
        self.left = at

    def step(self, title: str, total: int | None = None):
        outer = self
        inner = super().step(title, total)

        class Step:
            def __enter__(self):
                inner.__enter__()
                return self.tick

            def tick(self, count: int = 1, detail: str = "") -> None:
                outer.left -= 1 if title.startswith("training") and count == 1 else 0
                if outer.left == 0:
                    raise Killed

            def __exit__(self, *exc):
                return inner.__exit__(*exc)

        return Step()


def test_a_killed_training_continues_to_the_same_weights(model: Model, tmp_path: Path) -> None:
    whole = recover(damaged(model), training(model, tmp_path / "whole"), QUICK, stage="s")
    place = tmp_path / "broken"
    steps = []
    for at in (9, 3, 11):  # an epoch has 6 steps
        with pytest.raises(Killed):
            recover(damaged(model), training(model, place, progress=Kills(at)), QUICK, stage="s")
        steps.append(torch.load(place / "s.checkpoint", weights_only=True)["step"])
    assert steps == [6, 6, 12], "each continues from the last whole epoch"
    done = recover(damaged(model), training(model, place), QUICK, stage="s")
    assert torch_pass.digest_of(torch_pass.module_of(done.model)) == torch_pass.digest_of(
        torch_pass.module_of(whole.model)
    )
    assert (done.first_loss, done.last_loss) == (whole.first_loss, whole.last_loss)
    assert {path.name for path in place.iterdir()} == {"s.result", "teacher.0.npy", "teacher.count"}
    again = recover(damaged(model), training(model, place, progress=Kills(1)), QUICK, stage="s")
    assert torch_pass.digest_of(torch_pass.module_of(again.model)) == torch_pass.digest_of(
        torch_pass.module_of(whole.model)
    )


def test_a_checkpoint_of_another_training_is_not_loaded(model: Model, tmp_path: Path) -> None:
    first = recover(damaged(model), training(model, tmp_path / "t"), QUICK, stage="s").model
    settings = Recovery(epochs=4, batch_size=16, shift=0.0, learning_rate=1e-4)
    second = recover(damaged(model), training(model, tmp_path / "u"), settings, stage="s").model
    same_place = recover(damaged(model), training(model, tmp_path / "t"), settings, stage="s").model
    digests = [torch_pass.digest_of(torch_pass.module_of(each)) for each in (first, second, same_place)]
    assert digests[1] == digests[2] != digests[0]


def test_checkpoints_are_written_often_enough(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        recover(damaged(model), training(model, tmp_path / "t", progress=Kills(4)), QUICK, stage="s")
    assert torch.load(tmp_path / "t" / "s.checkpoint", weights_only=True)["step"] == 3


def test_a_training_that_does_not_converge_is_reported(model: Model, tmp_path: Path) -> None:
    wild = Recovery(epochs=4, batch_size=16, shift=0.0, learning_rate=1e30, optimizer="sgd")
    with raises(BuildError, "'s'", "finite", "step 1", hint=("learning_rate", "1e+30")):
        recover(damaged(model), training(model, tmp_path / "t"), wild, stage="s")


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"shift": 0.9}, {"label_weight": -0.1}, {"temperature": -1.0}]
)
def test_settings_are_checked(wrong) -> None:
    with raises(UsageError, next(iter(wrong)), str(next(iter(wrong.values())))):
        Recovery.from_dict(wrong)


def test_without_labels_only_the_original_is_matched(model: Model, tmp_path: Path) -> None:
    recovered = recover(
        damaged(model), training(model, tmp_path / "t", data=data(labelled=False)),
        Recovery(epochs=15, batch_size=16, shift=0.0), stage="s",
    )  # fmt: skip
    assert accuracy(recovered.model) > accuracy(model) - 0.05


def test_order_covers_every_sample_once_an_epoch(model: Model) -> None:
    schedule = BatchSchedule(data(20), model, 6, 2, 0, 0.0, False)
    assert (len(schedule), schedule.per_epoch) == (6, 3)
    rows = [tuple(row.flatten().tolist()) for step in range(3) for row in schedule[step].inputs["x"]]
    assert len(set(rows)) == 18
    with pytest.raises(IndexError):
        schedule[6]
    few = BatchSchedule(data(5), model, 64, 3, 0, 0.0, False)
    assert (few.size, len(few)) == (5, 3)


def test_batches_have_items_of_similar_length(model: Model) -> None:
    generator = np.random.default_rng(3)
    rows = [generator.standard_normal((1, count)).astype(np.float32) for count in generator.integers(3, 60, 330)]

    class Rows:
        def steps(self, sample):
            yield "model", {"x": np.asarray(sample.fields["x"])}

    mixed = TrainingData(Samples.from_feeds([{"x": row} for row in rows]), Rows(), padding={"x": 0})
    schedule = BatchSchedule(mixed, model, 10, 2, 0, 0.0, False)
    for epoch in range(2):
        batches = schedule._batches(epoch)
        assert [len(batch) for batch in batches] == [10] * 33
        assert sorted(index for batch in batches for index in batch) == list(range(330))
        longest = [max(mixed.lengths[index] for index in batch) for batch in batches]
        assert sum(longest) * 10 < 1.2 * sum(mixed.lengths), "little is padded"
        assert longest != sorted(longest), "in a random order"
    assert schedule._batches(0) != schedule._batches(1)


def test_the_teachers_outputs_are_kept_and_completed(model: Model, tmp_path: Path) -> None:
    samples = data(150)
    outputs = kept_outputs(model, samples, tmp_path, Silent())
    (name,) = outputs
    assert outputs[name].shape == (150, 2)
    images = torch.from_numpy(bars.pictures(150, 1)[0])
    with torch.no_grad():
        expected = torch_pass.module_of(model)(images).numpy()
    np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "teacher.count").write_text("64")  # as a killed run left it
    file = np.lib.format.open_memmap(tmp_path / "teacher.0.npy", mode="r+")
    file[64:] = 0
    file.flush()
    completed = kept_outputs(model, samples, tmp_path, Silent())
    np.testing.assert_allclose(completed[name], expected, rtol=1e-4, atol=1e-5)


def test_pictures_are_shifted_and_mirrored_by_the_seed() -> None:
    images = torch.arange(2 * 64, dtype=torch.float32).reshape(2, 1, 8, 8)
    results = [augmented(images, 0.125, True, seed) for seed in range(24)]
    assert {tuple(m.shape) for m in results} == {(2, 1, 8, 8)}
    assert torch.equal(augmented(images, 0.125, True, 3), results[3])
    assert len({tuple(m[0].flatten().tolist()) for m in results}) > 8
    assert any(torch.equal(m[0], images[0]) for m in (augmented(images, 0.0, True, seed) for seed in range(8)))
    assert any(torch.equal(m[0], images[0].flip(-1)) for m in (augmented(images, 0.0, True, seed) for seed in range(8)))


def test_losses_are_least_where_student_and_teacher_agree() -> None:
    torch.manual_seed(0)
    for problem, teacher in (
        ("classes", torch.randn(4, 5)), ("classes", torch.randn(4, 1)), ("several-labels", torch.randn(4, 3)),
        ("numbers", torch.randn(4, 1)), ("outputs", torch.randn(4, 6, 3)),
    ):  # fmt: skip
        objective = Distillation(problem, None, False, 2.0, 0.0)
        student = teacher.clone().requires_grad_()
        inputs = {"attention_mask": torch.ones(4, 6)}
        least = objective.loss({"y": student}, {"y": teacher}, None, inputs)
        least.backward()
        assert float(student.grad.abs().max()) < 1e-6, problem
        far = teacher + torch.randn_like(teacher)
        assert float(objective.loss({"y": far}, {"y": teacher}, None, inputs)) > float(least.detach())


def test_padding_does_not_count() -> None:
    objective = Distillation("outputs", None, False, 2.0, 0.0)
    teacher, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    student = teacher.clone()
    student[0, 2:] += 100
    assert float(objective.loss({"y": student}, {"y": teacher}, None, {"attention_mask": mask})) == 0
    assert float(objective.loss({"y": student}, {"y": teacher}, None, {})) > 1


def test_probabilities_are_not_softened_twice() -> None:
    logits = torch.randn(3, 4)
    of_logits = Distillation("classes", None, False, 1.0, 0.5)
    of_probabilities = Distillation("classes", None, True, 1.0, 0.5)
    labels = torch.tensor([0, -100, 2])
    teacher = torch.randn(3, 4)
    first = of_logits.loss({"y": logits}, {"y": teacher}, labels, {})
    second = of_probabilities.loss({"y": logits.softmax(-1)}, {"y": teacher.softmax(-1)}, labels, {})
    assert float(first) == pytest.approx(float(second), rel=1e-4)


def test_a_label_that_the_model_lacks_is_reported() -> None:
    objective = Distillation("classes", None, False, 2.0, 0.5)
    outputs = {"y": torch.randn(2, 3)}
    with raises(UsageError, ("3", "3 classes"), hint="--label-column"):
        objective.loss(outputs, outputs, torch.tensor([0, 3]), {})
