"""Train classifiers of credit default with scikit-learn and write them with skl2onnx, as their manuals show it.

    python newcomer_sklearn.py DATA FOLDER     # prints what scikit-learn says of each as JSON

It runs in an environment of its own, without edgekit.
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path

import numpy as np
from skl2onnx import to_onnx
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.metrics import roc_auc_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def main(data: Path, folder: Path) -> None:
    with (data / "UCI_Credit_Card.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    columns = header[1:-1]  # without the row's number and the label
    table = np.array([[float(cell) for cell in row[1:]] for row in rows], np.float32)
    test = np.arange(len(table)) % 5 == 0  # every fifth row is for testing
    for name, chosen in (("test", test), ("train", ~test)):
        with (folder / f"{name}.csv").open("w", newline="") as file:
            written = csv.writer(file)
            written.writerow([*columns, header[-1]])
            written.writerows([*(f"{value:g}" if value != int(value) else int(value) for value in row[:-1]),
                               int(row[-1])] for row in table[chosen])  # fmt: skip
    x, y = table[~test, :-1], table[~test, -1].astype(int)
    boosted = GradientBoostingClassifier(random_state=0).fit(x, y)
    perceptron = make_pipeline(StandardScaler(), MLPClassifier((32,), random_state=0, early_stopping=True)).fit(x, y)
    facts = {}
    for title, model, file, options in (
        ("gradient boosting, as skl2onnx writes it (ZipMap)", boosted, "boosted.onnx", {}),
        ("gradient boosting, without ZipMap", boosted, "boosted_plain.onnx", {"zipmap": False}),
        ("multilayer perceptron, without ZipMap", perceptron, "perceptron.onnx", {"zipmap": False}),
    ):
        proto = to_onnx(model, x[:1], options={id(model): options} if options else None, target_opset=17)
        (folder / file).write_bytes(proto.SerializeToString())
        held, truth = table[test, :-1], table[test, -1].astype(int)
        scores = model.predict_proba(held)
        row = {name: float(value) for name, value in zip(columns, held[0], strict=True)}
        facts[file] = {
            "title": title,
            "auc": float(roc_auc_score(truth, scores[:, 1])),
            "row": json.dumps(row),
            "score": float(scores[0].max()),
        }
    print(json.dumps(facts))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
