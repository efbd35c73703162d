"""Samples: where calibration and evaluation data come from, read lazily and drawn deterministically.

`load` takes an image folder, csv, tsv, jsonl, parquet, npz, a folder written by `datasets.save_to_disk`, or
`package.module:function`. What is on disk stays there: rows are read when they are asked for. Turning samples into
feeds is the task's part (`edgekit.tasks`).
"""

from edgekit.data.advice import advise, advise_training
from edgekit.data.feeds import Feeds
from edgekit.data.load import READABLE, check, load
from edgekit.data.picture import UnreadableImage, check_pictures, open_picture
from edgekit.data.samples import DataRef, Draw, Rows, Sample, Samples, require_labels
from edgekit.data.training import Problem, TrainingData

__all__ = [
    "READABLE",
    "DataRef",
    "Draw",
    "Feeds",
    "Problem",
    "Rows",
    "Sample",
    "Samples",
    "TrainingData",
    "UnreadableImage",
    "advise",
    "advise_training",
    "check",
    "check_pictures",
    "load",
    "open_picture",
    "require_labels",
]
