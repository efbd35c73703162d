"""Chat templates: the text of messages as transformers writes it, in a sandbox, and what cannot be written."""

from __future__ import annotations

import json
import sys

import pytest

from edgekit.errors import ArtifactError, EnvironmentFault, UsageError
from edgekit.tasks import chat
from tests.wording import raises

pytest.importorskip("jinja2")

TEMPLATE = """{{ bos_token }}{% for message in messages %}
{%- if message.role not in ('system', 'user', 'assistant') %}{{ raise_exception('an unknown role') }}{% endif %}
<|{{ message.role }}|>
{{ message.content | trim }}{{ eos_token }}
{% endfor %}
{% if add_generation_prompt %}<|assistant|>
{% endif %}{% if tools %}{{ tools | tojson }}{% endif %}"""

CONVERSATION = [
    {"role": "system", "content": "Be brief <b>."},
    {"role": "user", "content": " Grüße & more\n"},
    {"role": "assistant", "content": "Yes"},
    {"role": "user", "content": "Why?"},
]


@pytest.fixture
def tokenizer():
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    backend = tokenizers.Tokenizer(tokenizers.models.WordLevel({"<s>": 0, "</s>": 1}, "<s>"))
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", chat_template=TEMPLATE
    )


@pytest.mark.parametrize("messages", [CONVERSATION, CONVERSATION[1:2], chat.of_text("Hello")])
def test_the_text_is_that_of_transformers(tokenizer, tmp_path, messages):
    chat.save(tmp_path, tokenizer.chat_template, tokenizer.special_tokens_map)
    expected = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert chat.render(tmp_path, messages) == expected


def test_the_default_of_several_templates_is_kept(tmp_path):
    chat.save(tmp_path, {"tool_use": "no", "default": "{{ messages[0].content }}"}, {})
    assert chat.render(tmp_path, chat.of_text("Hello")) == "Hello"


def test_a_tokenizer_without_a_template_writes_none(tmp_path):
    for template in (None, "", {"rag": "x"}):
        chat.save(tmp_path, template, {})
    assert not any(tmp_path.iterdir())
    with raises(UsageError, "chat template", hint="--chat"):
        chat.render(tmp_path, chat.of_text("Hello"))


@pytest.mark.parametrize(
    "template",
    [
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ messages.append(1) }}",
        "{% for x in range(10**9) %}a{% endfor %}",
        "{{ raise_exception('roles must alternate') }}",
        "{{ 1 / 0 }}",
        "{% for %}",
        "{% generation %}",
    ],
)
def test_a_template_can_harm_nothing(tmp_path, template):
    chat.save(tmp_path, template, {})
    messages = chat.of_text("Hello")
    with raises(UsageError, "chat template", hint="roles user and assistant"):
        chat.render(tmp_path, messages)
    assert messages == chat.of_text("Hello")


@pytest.mark.parametrize("messages", [[], "Hello", ["Hello"], [{"content": "no role"}], {"role": "user"}])
def test_what_is_not_messages_is_refused(tmp_path, messages):
    chat.save(tmp_path, "x", {})
    with raises(UsageError, "role", hint="content"):
        chat.render(tmp_path, messages)


def test_a_damaged_template_is_an_artifacts_fault(tmp_path):
    for content in ("", "{", "[]", json.dumps({"template": 3}), json.dumps({"tokens": {}})):
        (tmp_path / chat.FILE).write_text(content)
        with pytest.raises(ArtifactError):
            chat.render(tmp_path, chat.of_text("Hello"))


def test_a_missing_jinja_is_named_with_its_install_line(tmp_path, monkeypatch):
    chat.save(tmp_path, "x", {})
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with raises(EnvironmentFault, "jinja2", hint="pip install jinja2"):
        chat.render(tmp_path, chat.of_text("Hello"))
