"""The loop of a training in the hands of transformers' Trainer, for the models of transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgekit._privacy import no_telemetry

if TYPE_CHECKING:
    from edgekit.passes.train.training_run import Course
    from edgekit.progress import Tick


def train(course: Course, tick: Tick) -> None:
    """Run the steps that are left. Checkpoints are ours: the Trainer's own are not written whole or not at all."""
    no_telemetry()
    import torch
    import transformers

    from edgekit.passes.train.training_run import SCRATCH

    class LessonsLeft(torch.utils.data.Dataset):  # type: ignore[misc]  # torch is not checked
        """A whole batch is one item, so that order and augmentation stay with the lessons."""

        def __len__(self) -> int:
            return len(course.lessons) - first

        def __getitem__(self, index: int) -> Any:
            return first + index, course.lessons[first + index]

    class InOrder(torch.utils.data.Sampler):  # type: ignore[misc]
        def __init__(self) -> None: ...

        def __len__(self) -> int:
            return len(course.lessons) - first

        def __iter__(self) -> Iterator[int]:
            return iter(range(len(self)))

    class Distilling(transformers.Trainer):  # type: ignore[misc]
        def _get_train_sampler(self, *args: Any, **kwargs: Any) -> Any:
            return InOrder()

        def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
            step, lesson = inputs["lesson"]
            course.begin(step)
            return course.loss(lesson)

        def floating_point_ops(self, inputs: Any) -> int:
            return 0  # its estimate knows texts only, and warns on pictures

    class EachStep(transformers.TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, args: Any, progress: Any, control: Any, **kwargs: Any) -> None:
            course.end(first + progress.global_step - 1, tick)

    first = course.step
    if first == len(course.lessons):
        return
    settings = transformers.TrainingArguments(
        output_dir=str(course.training.folder / SCRATCH),
        max_steps=len(course.lessons) - first,
        per_device_train_batch_size=1,
        max_grad_norm=1.0,
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
        seed=0,
    )
    trainer = Distilling(
        model=course.module,
        args=settings,
        data_collator=lambda items: {"lesson": items[0]},
        train_dataset=LessonsLeft(),
        optimizers=(course.optimizer, course.schedule),
        callbacks=[EachStep()],
    )
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
