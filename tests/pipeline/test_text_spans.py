"""Entities and answers, from a small random checkpoint and labelled files to a bundle that answers."""

from __future__ import annotations

import json
import shutil

import pytest
from click.testing import CliRunner

import edgekit
from edgekit.cli import cli
from tests.passes.conftest import minilm_folder

torch = pytest.importorskip("torch")

SIZES = {
    "vocab_size": 30522,
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "max_position_embeddings": 64,
}
CONLL = "EU\tB-ORG\nrejects\tO\nGerman\tB-MISC\ncall\tO\n\nPeter\tB-PER\nBlackburn\tI-PER\n\nBrussels\tB-LOC\n\n" * 2
CONTEXT = " ".join(f"In {year} the town had {year * 7 % 997} people." for year in range(1900, 1912))


def checkpoint(folder, module):
    module.save_pretrained(folder)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(minilm_folder() / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**settings, "model_max_length": 64}))
    return folder


def export(folder, data, out):
    return edgekit.export(str(folder), data=str(data), candidates=["onnxruntime/fp32", "onnxruntime/int8-dynamic"],
                          bench=False, output=str(out))  # fmt: skip


def test_named_entities(tmp_path):
    from transformers import AutoTokenizer, BertConfig, BertForTokenClassification

    names = ["O", "B-ORG", "I-ORG", "B-PER", "I-PER", "B-LOC", "B-MISC"]
    torch.manual_seed(0)
    config = BertConfig(**SIZES, id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    module = BertForTokenClassification(config).eval()
    torch.nn.init.normal_(module.classifier.weight)
    folder = checkpoint(tmp_path / "model", module)
    (tmp_path / "data.conll").write_text(CONLL)
    shipped = export(folder, tmp_path / "data.conll", tmp_path / "out")
    quality = shipped.report.shipped.quality
    assert shipped.report.task == "token-classification" and quality.metric == "f1"
    assert quality.score == quality.original_score
    answer = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), "Peter Blackburn left Brussels", "--json"])
    entities = json.loads(answer.stdout)["answer"]["entities"]
    ids = AutoTokenizer.from_pretrained(folder)("Peter Blackburn left Brussels", return_tensors="pt")
    with torch.inference_mode():
        classes = module(**ids).logits[0].argmax(-1).tolist()
    first = names[classes[1]]
    assert first != "O" and entities[0]["label"] == first[2:] and entities[0]["start"] == 0
    verified = CliRunner().invoke(cli, ["verify", str(tmp_path / "out"), "--data", str(tmp_path / "data.conll")])
    assert verified.exit_code == 0, verified.output


def test_answers_to_questions(tmp_path):
    from transformers import BertConfig, BertForQuestionAnswering

    torch.manual_seed(0)
    module = BertForQuestionAnswering(BertConfig(**SIZES)).eval()
    torch.nn.init.normal_(module.qa_outputs.weight)
    folder = checkpoint(tmp_path / "model", module)
    rows = [
        {"context": CONTEXT, "question": f"How many people in {year}?", "answers": {"text": [str(year * 7 % 997)]}}
        for year in range(1900, 1908)
    ]
    (tmp_path / "data.jsonl").write_text("\n".join(map(json.dumps, rows)))
    shipped = export(folder, tmp_path / "data.jsonl", tmp_path / "out")
    quality = shipped.report.shipped.quality
    assert shipped.report.task == "question-answering" and quality.metric == "f1"
    assert quality.score == quality.original_score and not quality.unjudged
    assert not any("cut" in note for note in quality.notes)
    answer = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), rows[0]["question"], CONTEXT, "--json"])
    span = json.loads(answer.stdout)["answer"]
    assert span["answer"] and CONTEXT[span["start"] : span["end"]] == span["answer"]
    table = CliRunner().invoke(cli, ["run", str(tmp_path / "out"), str(tmp_path / "data.jsonl")])
    assert table.exit_code == 0 and len(table.stdout.strip().splitlines()) == len(rows)
