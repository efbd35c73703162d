"""Recovery: a damaged network learns to answer as its original, the same way each time, killed or not."""

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
from edgekit.passes.train.batches import Lessons, known_outputs, moved  # noqa: E402
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
    """Take a part of its maps away, as a pruning does."""
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
        a, b = (torch_pass.module_of(one)(images).softmax(-1) for one in (model, other))
    return float((a - b).norm() / b.norm())


def test_a_damaged_network_recovers(model: Model, tmp_path: Path) -> None:
    student = damaged(model)
    before = torch_pass.digest_of(torch_pass.module_of(student)), torch_pass.digest_of(torch_pass.module_of(model))
    settings = Recovery(epochs=15, batch_size=16, shift=0.0, learning_rate=5e-3)
    found = recover(student, training(model, tmp_path / "t"), settings, stage="s")
    assert accuracy(model) > 0.95
    assert accuracy(student) < accuracy(found.model) - 0.1, "there was something to win back"
    assert accuracy(found.model) > accuracy(model) - 0.03
    assert distance(found.model, model) < distance(student, model) / 2
    assert found.steps == 90 and found.last_loss < found.first_loss
    assert mentions(found.note, "90 steps", "96 samples")
    assert before == (
        torch_pass.digest_of(torch_pass.module_of(student)),
        torch_pass.digest_of(torch_pass.module_of(model)),
    )
    net = torch_pass.module_of(found.model)
    assert not net.training and all(parameter.grad is None for parameter in net.parameters())
    assert found.model.original.module is net


@pytest.mark.parametrize("settings", [QUICK, Recovery(epochs=2, batch_size=16, mirror=True, optimizer="sgd")])
def test_equal_seeds_give_equal_weights(model: Model, tmp_path: Path, settings: Recovery) -> None:
    torch.manual_seed(4)
    before = torch.get_rng_state()
    found = [
        torch_pass.digest_of(
            torch_pass.module_of(
                recover(damaged(model), training(model, tmp_path / name, seed=seed), settings, stage="s").model
            )
        )
        for name, seed in (("one", 0), ("two", 0), ("three", 1))
    ]
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), before), "the caller's random numbers were touched"


class Killed(BaseException):
    pass


class Kills(Silent):
    """A progress that ends the process, as far as a test can, at a step."""

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


def test_a_killed_training_goes_on_to_the_same_weights(model: Model, tmp_path: Path) -> None:
    whole = recover(damaged(model), training(model, tmp_path / "whole"), QUICK, stage="s")
    place = tmp_path / "broken"
    steps = []
    for at in (9, 3, 11):  # an epoch has 6 steps
        with pytest.raises(Killed):
            recover(damaged(model), training(model, place, progress=Kills(at)), QUICK, stage="s")
        steps.append(torch.load(place / "s.checkpoint", weights_only=True)["step"])
    assert steps == [6, 6, 12], "each goes on from the last whole epoch"
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


def test_a_checkpoint_of_another_training_is_not_taken_up(model: Model, tmp_path: Path) -> None:
    one = recover(damaged(model), training(model, tmp_path / "t"), QUICK, stage="s").model
    other = Recovery(epochs=4, batch_size=16, shift=0.0, learning_rate=1e-4)
    fresh = recover(damaged(model), training(model, tmp_path / "u"), other, stage="s").model
    same_place = recover(damaged(model), training(model, tmp_path / "t"), other, stage="s").model
    digests = [torch_pass.digest_of(torch_pass.module_of(each)) for each in (one, fresh, same_place)]
    assert digests[1] == digests[2] != digests[0]


def test_checkpoints_come_often_enough(model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "CHECKPOINT_S", 0.0)
    with pytest.raises(Killed):
        recover(damaged(model), training(model, tmp_path / "t", progress=Kills(4)), QUICK, stage="s")
    assert torch.load(tmp_path / "t" / "s.checkpoint", weights_only=True)["step"] == 3


def test_what_does_not_converge_is_said(model: Model, tmp_path: Path) -> None:
    wild = Recovery(epochs=4, batch_size=16, shift=0.0, learning_rate=1e30, optimizer="sgd")
    with raises(BuildError, "'s'", "finite", "step 1", hint=("learning_rate", "1e+30")):
        recover(damaged(model), training(model, tmp_path / "t"), wild, stage="s")


@pytest.mark.parametrize(
    "wrong", [{"epochs": 0}, {"learning_rate": 0.0}, {"shift": 0.9}, {"label_weight": -0.1}, {"temperature": -1.0}]
)
def test_settings_are_checked(wrong) -> None:
    with raises(UsageError, next(iter(wrong)), str(next(iter(wrong.values())))):
        Recovery.from_dict(wrong)


def test_without_labels_the_original_is_all_there_is(model: Model, tmp_path: Path) -> None:
    found = recover(
        damaged(model), training(model, tmp_path / "t", data=data(labelled=False)),
        Recovery(epochs=15, batch_size=16, shift=0.0), stage="s",
    )  # fmt: skip
    assert accuracy(found.model) > accuracy(model) - 0.05


def test_order_covers_every_sample_once_an_epoch(model: Model) -> None:
    lessons = Lessons(data(20), model, 6, 2, 0, 0.0, False)
    assert (len(lessons), lessons.each_epoch) == (6, 3)
    rows = [tuple(row.flatten().tolist()) for step in range(3) for row in lessons[step].inputs["x"]]
    assert len(set(rows)) == 18
    with pytest.raises(IndexError):
        lessons[6]
    few = Lessons(data(5), model, 64, 3, 0, 0.0, False)
    assert (few.size, len(few)) == (5, 3)


def test_batches_are_of_items_of_about_one_length(model: Model) -> None:
    dice = np.random.default_rng(3)
    rows = [dice.standard_normal((1, count)).astype(np.float32) for count in dice.integers(3, 60, 330)]

    class Rows:
        def steps(self, sample):
            yield "model", {"x": np.asarray(sample.fields["x"])}

    mixed = TrainingData(Samples.from_feeds([{"x": row} for row in rows]), Rows(), padding={"x": 0})
    lessons = Lessons(mixed, model, 10, 2, 0, 0.0, False)
    for epoch in range(2):
        batches = lessons._batches(epoch)
        assert [len(batch) for batch in batches] == [10] * 33
        assert sorted(index for batch in batches for index in batch) == list(range(330))
        longest = [max(mixed.lengths[index] for index in batch) for batch in batches]
        assert sum(longest) * 10 < 1.2 * sum(mixed.lengths), "little is filled up"
        assert longest != sorted(longest), "in a random order"
    assert lessons._batches(0) != lessons._batches(1)


def test_the_teachers_outputs_are_kept_and_completed(model: Model, tmp_path: Path) -> None:
    samples = data(150)
    known = known_outputs(model, samples, tmp_path, Silent())
    (name,) = known
    assert known[name].shape == (150, 2)
    images = torch.from_numpy(bars.pictures(150, 1)[0])
    with torch.no_grad():
        expected = torch_pass.module_of(model)(images).numpy()
    np.testing.assert_allclose(known[name], expected, rtol=1e-4, atol=1e-5)
    (tmp_path / "teacher.count").write_text("64")  # as a killed run left it
    file = np.lib.format.open_memmap(tmp_path / "teacher.0.npy", mode="r+")
    file[64:] = 0
    file.flush()
    again = known_outputs(model, samples, tmp_path, Silent())
    np.testing.assert_allclose(again[name], expected, rtol=1e-4, atol=1e-5)


def test_pictures_move_as_told() -> None:
    one = torch.arange(2 * 64, dtype=torch.float32).reshape(2, 1, 8, 8)
    moves = [moved(one, 0.125, True, seed) for seed in range(24)]
    assert {tuple(m.shape) for m in moves} == {(2, 1, 8, 8)}
    assert torch.equal(moved(one, 0.125, True, 3), moves[3])
    assert len({tuple(m[0].flatten().tolist()) for m in moves}) > 8
    assert any(torch.equal(m[0], one[0]) for m in (moved(one, 0.0, True, seed) for seed in range(8)))
    assert any(torch.equal(m[0], one[0].flip(-1)) for m in (moved(one, 0.0, True, seed) for seed in range(8)))


def test_losses_are_least_where_student_and_teacher_agree() -> None:
    torch.manual_seed(0)
    for problem, teacher in (
        ("classes", torch.randn(4, 5)), ("classes", torch.randn(4, 1)), ("several-labels", torch.randn(4, 3)),
        ("numbers", torch.randn(4, 1)), ("outputs", torch.randn(4, 6, 3)),
    ):  # fmt: skip
        objective = Distillation(problem, None, False, 2.0, 0.0)
        mine = teacher.clone().requires_grad_()
        inputs = {"attention_mask": torch.ones(4, 6)}
        least = objective.loss({"y": mine}, {"y": teacher}, None, inputs)
        least.backward()
        assert float(mine.grad.abs().max()) < 1e-6, problem
        other = teacher + torch.randn_like(teacher)
        assert float(objective.loss({"y": other}, {"y": teacher}, None, inputs)) > float(least.detach())


def test_what_fills_up_a_sequence_does_not_count() -> None:
    objective = Distillation("outputs", None, False, 2.0, 0.0)
    teacher, mask = torch.randn(2, 4, 3), torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]])
    student = teacher.clone()
    student[0, 2:] += 100
    assert float(objective.loss({"y": student}, {"y": teacher}, None, {"attention_mask": mask})) == 0
    assert float(objective.loss({"y": student}, {"y": teacher}, None, {})) > 1


def test_probabilities_are_not_softened_twice() -> None:
    logits = torch.randn(3, 4)
    plain = Distillation("classes", None, False, 1.0, 0.5)
    told = Distillation("classes", None, True, 1.0, 0.5)
    labels = torch.tensor([0, -100, 2])
    other = torch.randn(3, 4)
    one = plain.loss({"y": logits}, {"y": other}, labels, {})
    two = told.loss({"y": logits.softmax(-1)}, {"y": other.softmax(-1)}, labels, {})
    assert float(one) == pytest.approx(float(two), rel=1e-4)


def test_a_label_that_the_model_lacks_is_said() -> None:
    objective = Distillation("classes", None, False, 2.0, 0.5)
    outputs = {"y": torch.randn(2, 3)}
    with raises(UsageError, ("3", "3 classes"), hint="--label-column"):
        objective.loss(outputs, outputs, torch.tensor([0, 3]), {})
