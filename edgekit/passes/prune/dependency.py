"""Find which channels of convolutions and linear layers belong together, by torch-pruning's dependency graph.

The graph is traced in a child process with a time limit: on some architectures torch-pruning does not return (Llama),
and it cannot be interrupted from within.
"""

from __future__ import annotations

import json
import multiprocessing
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.frameworks.quiet import quiet
from edgekit.passes.prune import pruning_plan
from edgekit.passes.prune.pruning_plan import Group, Member

LIMIT_S = 120.0
"""A trace of ResNet-50 takes a second or two; one that takes this long does not end."""

_INSTEAD = (
    "prune it in your own code and export the pruned module; or use a recipe without pruning: "
    "int8-static, int8-dynamic, fp16"
)


def channel_groups(module: Any, run: Callable[[Any], Any], *, limit_s: float = LIMIT_S) -> tuple[Group, ...]:
    """Return the groups of channels that torch-pruning finds in one run of `module` by `run`, in graph order.

    Groups with a member that cannot be cut (a recurrent layer, a layer norm, a bare parameter) are left out.
    Raises UnsupportedError where the trace fails or does not end.
    """
    import torch_pruning  # noqa: F401  # here, so that no child has to import it

    context = multiprocessing.get_context("fork")  # a user's module is not always one that pickles
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_trace, args=(module, run, sender), daemon=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12 warns of threads at a fork; the child starts none and runs on one
        child.start()
    sender.close()
    try:
        ended = receiver.poll(limit_s)
        try:
            answer = json.loads(receiver.recv_bytes()) if ended else None
        except EOFError:
            answer = {"fault": "its process died"}
    finally:
        child.kill()
        child.join()
        receiver.close()
    name = type(module).__name__
    if answer is None:
        raise UnsupportedError(
            f"'{name}' cannot be pruned: finding the channels that belong together did not end in {limit_s:g} s.",
            hint=_INSTEAD,
        )
    if "fault" in answer:
        raise UnsupportedError(
            f"'{name}' cannot be pruned: torch-pruning cannot trace it: {answer['fault']}.", hint=_INSTEAD
        )
    return tuple(Group.from_dict(group) for group in answer["groups"])


def _trace(module: Any, run: Callable[[Any], Any], sender: Connection) -> None:
    """Send the groups, or why there are none, as JSON: nothing from the child is unpickled."""
    import torch

    torch.set_num_threads(1)  # OpenMP's threads do not survive a fork
    try:
        with quiet():
            groups = [group.to_dict() for group in _groups(module, run)]
        answer: dict[str, Any] = {"groups": groups}
    except Exception as error:  # torch-pruning raises whatever it meets
        answer = {
            "fault": f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else 'no message'}"
        }
    sender.send_bytes(json.dumps(answer).encode())
    sender.close()


def _groups(module: Any, run: Callable[[Any], Any]) -> list[Group]:
    from torch import nn
    from torch_pruning import DependencyGraph

    for parameter in module.parameters():
        parameter.requires_grad_(True)  # the trace follows gradients
    graph = DependencyGraph().build_dependency(
        module, example_inputs={}, forward_fn=lambda part, _: run(part), output_transform=lambda outputs: outputs
    )
    names = {part: name for name, part in module.named_modules()}
    roots = [nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear]
    order = {name: number for number, name in enumerate(names.values())}
    groups = []
    for traced in graph.get_all_groups(root_module_types=roots):
        members = _members(graph, traced, names)
        producers = [
            member.module
            for member in members or ()
            if member.axis == "out" and pruning_plan.reading_dim(module.get_submodule(member.module)) is not None
        ]
        if members is not None and producers and any(member.axis == "in" for member in members):
            groups.append(Group(min(producers, key=order.__getitem__), "channels", members))
    return sorted(groups, key=lambda group: order[group.name])


def _members(graph: Any, traced: Any, names: dict[Any, str]) -> tuple[Member, ...] | None:
    """Return the members of torch-pruning's group; None where one of them cannot be cut."""
    size = len(traced[0].idxs)
    members: dict[tuple[str, pruning_plan.Axis], Member] = {}
    for item in traced:
        part = item.dep.target.module
        if part not in names:
            if type(part).__module__.startswith("torch_pruning"):  # an operation between modules
                continue
            return None
        axis: pruning_plan.Axis = "out" if graph.is_out_channel_pruning_fn(item.dep.handler) else "in"
        if pruning_plan.depthwise(part):
            axis = "out"
        if not pruning_plan.cuttable(part, axis):
            return None
        channels: list[list[int]] = [[] for _ in range(size)]
        for index, root in zip(item.idxs, item.root_idxs, strict=True):
            channels[root].append(index)
        if not all(channels):
            return None
        key = (names[part], axis)
        member = Member(*key, tuple(tuple(sorted(indices)) for indices in channels))
        if members.setdefault(key, member) != member:
            return None
    return tuple(members.values())
