"""Find the attention heads and feed-forward neurons of Hugging Face's transformer encoders."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from edgekit.passes.prune.pruning_plan import Group, Member, Setting


@dataclass(frozen=True)
class Layout:
    """Names inside one layer: modules of the attention and of the feed-forward part, attributes that count heads."""

    attention: str
    producers: tuple[str, ...]
    reader: str
    heads: str
    width: str
    up: str
    down: str


_BERT = Layout(
    attention="attention.self",
    producers=("query", "key", "value"),
    reader="attention.output.dense",
    heads="num_attention_heads",
    width="all_head_size",
    up="intermediate.dense",
    down="output.dense",
)
_VIT = replace(_BERT, attention="attention.attention")
_DISTILBERT = Layout(
    attention="attention",
    producers=("q_lin", "k_lin", "v_lin"),
    reader="attention.out_lin",
    heads="n_heads",
    width="dim",
    up="ffn.lin1",
    down="ffn.lin2",
)

LAYOUTS = {
    "BertLayer": _BERT,
    "RobertaLayer": _BERT,
    "CamembertLayer": _BERT,
    "XLMRobertaLayer": _BERT,
    "ElectraLayer": _BERT,
    "ViTLayer": _VIT,
    "DeiTLayer": _VIT,
    "TransformerBlock": _DISTILBERT,
}
"""By the class of a layer in transformers 4.57."""

KNOWN = "BERT, RoBERTa, CamemBERT, XLM-RoBERTa, ELECTRA, DistilBERT, ViT and DeiT"


def encoder_groups(module: Any) -> tuple[Group, ...]:
    """Return the groups of each layer's heads and neurons, in order; empty where `module` has no such layer."""
    return tuple(
        group
        for name, part in module.named_modules()
        if type(part).__module__.startswith("transformers.") and type(part).__name__ in LAYOUTS
        for group in _layer(name, part, LAYOUTS[type(part).__name__])
    )


def _layer(name: str, part: Any, layout: Layout) -> Iterator[Group]:
    prefix = f"{name}." if name else ""
    owner = part.get_submodule(layout.attention)
    heads = getattr(owner, layout.heads)
    size = owner.attention_head_size
    units = tuple(tuple(range(head * size, (head + 1) * size)) for head in range(heads))
    inside = f"{prefix}{layout.attention}"
    yield Group(
        f"{inside} heads",
        "heads",
        (
            *(Member(f"{inside}.{producer}", "out", units) for producer in layout.producers),
            Member(prefix + layout.reader, "in", units),
        ),
        (Setting(inside, layout.heads, 1), Setting(inside, layout.width, size)),
    )
    neurons = tuple((index,) for index in range(part.get_submodule(layout.up).out_features))
    yield Group(
        f"{prefix}{layout.up}",
        "neurons",
        (Member(prefix + layout.up, "out", neurons), Member(prefix + layout.down, "in", neurons)),
    )
