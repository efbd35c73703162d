"""What can be pruned together, that removing equals zeroing, and what is left unpruned or refused."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

import pytest

from tests.wording import raises

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.needs("torch_pruning")

from edgekit.errors import UnsupportedError, UsageError  # noqa: E402
from edgekit.passes.prune import dependency, pruning_plan  # noqa: E402
from edgekit.passes.prune.channel_groups import prunable  # noqa: E402
from edgekit.passes.prune.multiplications import count  # noqa: E402
from edgekit.passes.prune.multiplications import one_thread as one_thread_of_torch  # noqa: E402
from edgekit.passes.prune.pruning_plan import PruningPlan  # noqa: E402

spec = importlib.util.spec_from_file_location("prunable_nets", Path(__file__).with_name("prunable_nets.py"))
nets = importlib.util.module_from_spec(spec)
sys.modules["prunable_nets"] = nets
spec.loader.exec_module(nets)


@pytest.fixture(autouse=True)
def one_thread():
    with one_thread_of_torch():
        yield


def groups_of(net, run, exclude=()):
    return prunable(net, run, count(net, run), exclude)


def thirds(groups):
    """Return the plan that removes one unit in three of every group at once."""
    return pruning_plan.make_plan([(group, range(1, group.size, 3)) for group in groups])


EXPECTED = {
    "concat": {"left": 16, "right": 24, "read": 16},
    "depthwise": {"stem": 8, "expand": 32},
    "upward": {"down": 16},
    "mlp": {"0": 32, "2": 24},
    "mixed": {"free": 32},
    "resnet20": {
        f"layer{stage}.{block}.conv1": 8 * 2**stage for stage in (1, 2, 3) for block in (0, 1, 2)
    },
}  # fmt: skip


@pytest.mark.parametrize("name", nets.PLAIN)
def test_removing_channels_equals_setting_them_to_zero(name: str) -> None:
    net, run = nets.plain(name)
    pruning = groups_of(net, run)
    assert {group.name: group.size for group in pruning.groups} == EXPECTED[name]
    whole = thirds(pruning.groups)
    with torch.no_grad():
        before, small, zeroed = run(net), run(pruning_plan.apply(net, whole)), run(pruning_plan.zeroed(net, whole))
    for output in before:
        torch.testing.assert_close(small[output], zeroed[output], rtol=1e-4, atol=1e-4)
        assert small[output].shape == before[output].shape
    assert any(not torch.allclose(small[output], before[output], atol=1e-3) for output in before)
    assert count(pruning_plan.apply(net, whole), run).total < count(net, run).total


@pytest.mark.parametrize("name", nets.TRANSFORMERS)
def test_removing_heads_and_neurons_equals_setting_them_to_zero(name: str) -> None:
    net, run = nets.transformer(name)
    pruning = groups_of(net, run)
    assert [(group.kind, group.size) for group in pruning.groups] == [("heads", 4), ("neurons", 48)] * 2
    # Layers lose different numbers, as they do when they compete.
    whole = pruning_plan.make_plan(
        [(group, range(index % 3, group.size, 2)) for index, group in enumerate(pruning.groups)]
    )
    with torch.no_grad():
        before, small, zeroed = run(net), run(pruning_plan.apply(net, whole)), run(pruning_plan.zeroed(net, whole))
    torch.testing.assert_close(small["logits"], zeroed["logits"], rtol=1e-4, atol=1e-4)
    assert not torch.allclose(small["logits"], before["logits"], atol=1e-3)
    assert count(pruning_plan.apply(net, whole), run).total < 0.7 * count(net, run).total


def test_a_plan_is_plain_and_repeats_the_module() -> None:
    net, run = nets.plain("depthwise")
    first = thirds(groups_of(net, run).groups)
    once = pruning_plan.apply(net, first)
    second = thirds(groups_of(once, run).groups)
    plans = [PruningPlan.from_dict(plan.to_dict()) for plan in (first, second)]
    again, directly = pruning_plan.apply(net, *plans), pruning_plan.apply(once, second)
    assert repr(again) == repr(directly) != repr(once)
    assert all(torch.equal(a, b) for a, b in zip(again.parameters(), directly.parameters(), strict=True))


def test_shortcuts_that_pad_with_zeros_are_left_unpruned_with_a_note() -> None:
    net, run = nets.plain("resnet20")
    (note,) = groups_of(net, run).notes
    assert "not pruned" in note and "conv1" in note


def test_excluded_modules_keep_all_their_channels() -> None:
    net, run = nets.plain("concat")
    assert {group.name for group in groups_of(net, run, ("read",)).groups} == set(), "it reads the other two"
    assert {group.name for group in groups_of(net, run, ("right",)).groups} == {"left", "read"}
    with raises(UsageError, ("'rigth'", "'right'"), hint="named_modules()"):
        groups_of(net, run, ("rigth",))
    net, run = nets.transformer("bert")
    kept = groups_of(net, run, ("bert.encoder.layer.0",)).groups
    assert all("layer.1." in group.name for group in kept) and len(kept) == 2


def test_transformers_of_another_layout_are_refused_with_the_reason() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    net = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=32, num_attention_heads=4, num_hidden_layers=1, intermediate_size=48, vocab_size=50
        )
    ).eval()  # fmt: skip
    with raises(UnsupportedError, "'LlamaForCausalLM'", "BERT", "DeiT", hint="int8-static") as refused:
        groups_of(net, lambda part: {"logits": part(torch.ones(1, 4, dtype=torch.long)).logits})
    assert "int8" in str(refused.value.hint)


def test_a_trace_that_does_not_end_is_stopped() -> None:
    def endless(part):
        while True:
            time.sleep(0.01)

    with raises(UnsupportedError, "'Sequential'", "0.2 s"):
        dependency.channel_groups(nets.mlp(), endless, limit_s=0.2)


def test_a_trace_that_fails_gives_its_reason() -> None:
    def broken(part):
        raise ValueError("no such size")

    with raises(UnsupportedError, "'Sequential'", "ValueError: no such size"):
        dependency.channel_groups(nets.mlp(), broken)


@pytest.mark.parametrize("name", ["concat", "bert"])
def test_attention_and_convolutions_are_counted(name: str) -> None:
    net, run = nets.plain(name) if name in nets.PLAIN else nets.transformer(name)
    if name == "concat":
        convolutions = 2 * 64 * (27 * 16 + 3 * 24 + 40 * 16)
        assert count(net, run) == type(count(net, run))(convolutions + 2 * 256 * 4, convolutions)
    else:
        tokens, layer = 18, 4 * 32 * 32 + 2 * 32 * 48
        attention = 2 * 2 * 9 * 9 * 32  # a batch of two, scores and sums over them
        head = 2 * (32 * 32 + 32 * 3)
        assert count(net, run).total == 2 * (tokens * layer + attention) + head
