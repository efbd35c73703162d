"""Which units are removed: by weights or by the loss, in blocks of the device's width, until the budget is met."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from tests.wording import raises

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("torch_pruning")

from edgekit.errors import UnsupportedError  # noqa: E402
from edgekit.passes.prune import importance, pruning_plan, selection  # noqa: E402
from edgekit.passes.prune.channel_groups import prunable  # noqa: E402
from edgekit.passes.prune.encoder import encoder_groups  # noqa: E402
from edgekit.passes.prune.multiplications import count  # noqa: E402
from edgekit.passes.prune.multiplications import one_thread as one_thread_of_torch  # noqa: E402

spec = importlib.util.spec_from_file_location("prunable_nets", Path(__file__).with_name("prunable_nets.py"))
nets = importlib.util.module_from_spec(spec)
sys.modules["prunable_nets"] = nets
spec.loader.exec_module(nets)


@pytest.fixture(autouse=True)
def one_thread():
    with one_thread_of_torch():
        yield


def losses(net, run, number=4):
    for seed in range(number):
        (answer,) = run(net).values()
        target = torch.randint(0, answer.shape[1], (len(answer),), generator=torch.Generator().manual_seed(seed))
        yield torch.nn.functional.cross_entropy(answer, target)


def test_units_that_nothing_reads_matter_least_to_the_loss() -> None:
    net, run = nets.plain("mlp")
    groups = prunable(net, run, count(net, run)).groups
    with torch.no_grad():
        net[2].weight[:, 5] = 0
        net[4].weight[:, 7] = 0
    first, second = importance.by_taylor(net, groups, losses(net, run))
    assert first[5] == 0 == second[7]
    assert sum(score > 0 for score in first) > 16 < 2 * sum(score > 0 for score in second)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_taylor_scores_are_the_change_of_the_loss() -> None:
    net, run = nets.plain("mlp")
    groups = prunable(net, run, count(net, run)).groups
    with torch.no_grad():  # so small that the loss is linear over the change
        net[4].weight *= 1e-3
    (loss,) = losses(net, run, 1)
    (_, scores) = importance.by_taylor(net, groups, losses(net, run, 1))
    for unit in (0, 11, 23):
        smaller = pruning_plan.apply(net, pruning_plan.make_plan([(groups[1], [unit])]))
        (after,) = losses(smaller, run, 1)
        assert scores[unit] == pytest.approx((after - loss).item() ** 2, rel=0.05, abs=1e-13)


def test_magnitude_counts_producers_and_readers_of_a_unit() -> None:
    net, run = nets.plain("depthwise")
    groups = prunable(net, run, count(net, run)).groups
    (inside,) = [group for group in groups if group.size == 32]
    with torch.no_grad():
        for part in (net.expand, net.spread, net.norm1, net.norm2, net.act):
            part.weight[3] = 1e-4
        net.project.weight[:, 3] = 1e-4
        net.project.weight[:, 9] = 9
    (scores,) = importance.by_magnitude(net, [inside])
    assert min(range(32), key=scores.__getitem__) == 3
    assert max(range(32), key=scores.__getitem__) == 9


def chosen(net, run, groups, scores, ratio, round_to=8, least=1):
    budget = int(count(net, run).total * (1 - ratio))
    plan = selection.select(net, run, groups, scores, budget=budget, round_to=round_to, least=[least] * len(groups))
    return plan, pruning_plan.apply(net, plan), budget


@pytest.mark.parametrize("round_to", [1, 8])
def test_widths_are_multiples_and_no_more_than_needed_is_removed(round_to: int) -> None:
    net, run = nets.plain("resnet20")
    groups = prunable(net, run, count(net, run)).groups
    _, small, budget = chosen(net, run, groups, importance.by_magnitude(net, groups), 0.4, round_to)
    widths = [small.get_submodule(group.name).out_channels for group in groups]
    assert all(width % round_to == 0 for width in widths)
    taken = count(small, run).total
    block = round_to * 2 * 9 * 16 * 8 * 8 * 2  # the largest that one block can save, on two images of 8 x 8
    assert budget - block < taken <= budget


def test_widths_that_are_not_a_multiple_lose_the_remainder_first() -> None:
    net = torch.nn.Sequential(torch.nn.Linear(4, 19), torch.nn.ReLU(), torch.nn.Linear(19, 3)).eval()

    def run(part):
        return {"y": part(torch.ones(1, 4))}

    groups = prunable(net, run, count(net, run)).groups
    scores = [[float(unit) for unit in range(19)]]
    plan, small, _ = chosen(net, run, groups, scores, 0.1)
    assert small[0].out_features == 16
    assert plan.cuts[0].remove == (0, 1, 2), "the least important ones"
    with raises(UnsupportedError, "multiples of 8", hint="round_to = 1") as refused:
        chosen(net, run, groups, scores, 0.6, least=9)
    assert "smaller ratio" in str(refused.value.hint)


def test_heads_and_neurons_lose_the_same_share_and_the_module_counts_its_heads() -> None:
    net, run = nets.transformer("bert")
    groups = encoder_groups(net)
    plan, small, budget = chosen(net, run, groups, importance.by_magnitude(net, groups), 0.45)
    heads = [layer.attention.self.num_attention_heads for layer in small.bert.encoder.layer]
    neurons = [layer.intermediate.dense.out_features for layer in small.bert.encoder.layer]
    assert abs(sum(heads) / 8 - sum(neurons) / 96) <= 1 / 8
    assert all(width % 8 == 0 for width in neurons)
    assert [layer.attention.self.all_head_size for layer in small.bert.encoder.layer] == [8 * n for n in heads]
    assert count(small, run).total <= budget and plan.settings
    # Two heads are one block where a head is narrower than the device's width.
    _, wide, _ = chosen(net, run, groups, importance.by_magnitude(net, groups), 0.3, round_to=16)
    assert all(layer.attention.self.num_attention_heads % 2 == 0 for layer in wide.bert.encoder.layer)


def test_units_that_save_more_work_are_removed_first_at_equal_importance() -> None:
    net, run = nets.plain("mlp")
    groups = prunable(net, run, count(net, run)).groups
    scores = [[1.0] * 32, [1.0] * 24]
    _, small, _ = chosen(net, run, groups, scores, 0.2)
    # A unit of the first layer saves 12 + 24 multiply-adds, one of the second 32 + 3.
    assert (small[0].out_features, small[2].out_features) == (24, 24)
