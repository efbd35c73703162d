"""Samples for calibration and evaluation, read lazily and drawn deterministically.

`load` reads an image folder, csv, tsv, jsonl, parquet, npz, a folder written by `datasets.save_to_disk`, or
`package.module:function`. Data stays on disk: a row is read when it is used. Tasks (`edgekit.tasks`) turn samples into
feeds.
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
