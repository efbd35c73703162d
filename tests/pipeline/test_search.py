"""Which points of a search compete in the end. The search itself is in `e2e/`."""

from __future__ import annotations

from edgekit.pipeline.pruning_gain import without_speedup
from edgekit.pipeline.search import entrants
from tests.pipeline.choosing import tried


def point(**choices: object) -> dict[str, object]:
    return {"backend": "onnxruntime", "recipe": "int8-static", "method": "mse", "samples": 32, **choices}


def test_the_best_compete_and_what_is_pruned_beside_the_same_unpruned():
    pruned, plain = point(in_float=0.1, pruned=0.5), point(in_float=0.0, pruned=0.0)
    assert entrants([(4, pruned), (2, plain)]) == [
        ("search4", pruned),
        ("search4-whole", point(in_float=0.1, pruned=0.0)),
        ("search2", plain),
    ]


def test_no_point_competes_twice():
    pruned, whole = point(pruned=0.5), point(pruned=0.0)
    assert entrants([(1, pruned), (3, whole)]) == [("search1", pruned), ("search3", whole)]
    more = point(pruned=0.2)
    names = [name for name, _ in entrants([(1, pruned), (2, more)])]
    assert names == ["search1", "search1-whole", "search2"]


def test_without_training_data_there_is_no_pruning_to_judge(tmp_path):
    assert entrants([(1, point())]) == [("search1", point())]
    assert without_speedup([tried(tmp_path, "a/int8-static-search1")], "latency") == {}
