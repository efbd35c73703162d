"""onnxruntime-genai's builder, in packages of its own: from a module to a bundle, held against torch."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from edgekit_onnxruntime import OnnxRuntime, genai_packages
from edgekit_onnxruntime.genai import GenAi

import edgekit
from edgekit.data import Sample
from edgekit.errors import EnvironmentFault, UnsupportedError
from edgekit.model import Model, Reference
from edgekit.plugin import Payload
from edgekit.target.target import load as load_target
from edgekit.testing.passes import PassAttributeTests
from tests.wording import raises

torch = pytest.importorskip("torch")
pytest.importorskip("onnxruntime_genai")

VOCABULARY, CONTEXT = 60, 600
PROMPTS = ([1, 17, 33, 8, 21], [1], [1, 50, 50, 4, 9, 9, 30, 2, 41])


def language_model(name="Llama", head=16):
    """Return a small language model of random weights, so large that each token depends on the text."""
    import transformers

    torch.manual_seed(3)
    config = getattr(transformers, f"{name}Config")(
        vocab_size=VOCABULARY,
        hidden_size=4 * head,
        head_dim=head,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=CONTEXT,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    module = getattr(transformers, f"{name}ForCausalLM")(config)
    for parameter in module.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    # Sampling settings that transformers does not save beside greedy search: the builder needs none of them.
    module.generation_config.update(max_new_tokens=12, temperature=0.7)
    return module.eval()


def loaded(module, folder) -> Model:
    from edgekit.sources.torch_module import InMemoryModule

    folder.mkdir()
    return InMemoryModule(module).load(Reference("model"), folder)


@pytest.fixture(scope="module")
def module():
    return language_model()


@pytest.fixture(scope="module")
def environment(tmp_path_factory):
    """Make the builder's packages once, in edgekit's own cache: they are the same for every test and every run."""
    before = os.environ.pop("EDGEKIT_CACHE_DIR", None)
    try:
        return genai_packages.folder()
    except EnvironmentFault as fault:
        pytest.skip(fault.message)
    finally:
        if before is not None:
            os.environ["EDGEKIT_CACHE_DIR"] = before


@pytest.fixture
def packages(environment, monkeypatch):
    monkeypatch.setattr(genai_packages, "folder", lambda: environment)


@pytest.fixture(scope="module")
def converted(module, environment, tmp_path_factory):
    folder = tmp_path_factory.mktemp("genai")
    work = folder / "converted"
    work.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(genai_packages, "folder", lambda: environment)
        return GenAi().apply(loaded(module, folder / "loaded"), None, work)


@pytest.fixture(scope="module")
def payload(converted, tmp_path_factory):
    work = tmp_path_factory.mktemp("payload")
    built = OnnxRuntime().build(converted, load_target("host"), {"threads": 1}, work)
    return Payload(work, built.files, built.part, built.options)


def expected(module, prompt, count):
    ids = torch.tensor([prompt])
    answer = module.generate(ids, max_new_tokens=count, do_sample=False, eos_token_id=None)
    return answer[0, len(prompt) :].tolist()


class TestAttributes(PassAttributeTests):
    def subject(self):
        return GenAi(weights="int4")


@pytest.mark.nightly
def test_the_runtimes_own_search_gives_the_ids_of_torch(payload, module):
    backend = OnnxRuntime()
    generator = backend.generator(payload)
    for prompt in PROMPTS:
        ids = list(generator.generate(prompt, 40))
        wanted = expected(module, prompt, 40)
        stop = wanted.index(2) + 1 if 2 in wanted else len(wanted)
        assert ids == wanted[:stop]
    generator.close()


@pytest.mark.nightly
def test_a_bundle_is_judged_shipped_verified_and_run(module, tmp_path, packages, monkeypatch):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    np.savez(tmp_path / "ids.npz", input_ids=np.random.default_rng(0).integers(3, VOCABULARY, (6, 24)))
    shipped = edgekit.export(
        module,
        data=str(tmp_path / "ids.npz"),
        candidates=["onnxruntime/genai-fp32", "onnxruntime/genai-int4"],
        bench=False,
        output=str(tmp_path / "out"),
    )
    by_name = {candidate.recipe: candidate for candidate in shipped.report.candidates}
    best, packed = by_name["genai-fp32"], by_name["genai-int4"]
    assert best.status == "shipped" and best.quality.rel_l2 < 1e-5 and best.quality.agreement == 1.0
    assert best.quality.checks[0].name == "parity"
    assert packed.quality.rel_l2 > 1e-3 and packed.effective.main in ("i8", "f32") and packed.size_mb < best.size_mb
    bundle = edgekit.open(shipped.bundle.path)
    assert {path.name for path in bundle.path.rglob("*") if "genai" in path.name} == {"genai_config.json"}
    assert edgekit.verify(bundle.path).ok
    task = bundle.task()
    task = replace(task, config=replace(task.config, generation=replace(task.config.generation, max_new=30, stops=())))
    with bundle.runner() as runner:
        for beams in (1, 3):
            settings = replace(task.config.generation, beams=beams)
            asked = replace(task, config=replace(task.config, generation=settings))
            ids = list(asked.stream(Sample({"input_ids": np.array([[1, 17, 33]])}), runner))
            wanted = module.generate(
                torch.tensor([[1, 17, 33]]), max_new_tokens=30, do_sample=False, num_beams=beams, eos_token_id=None
            )
            assert ids == wanted[0, 3:].tolist(), beams


@pytest.mark.nightly
def test_heads_that_its_kernels_refuse_are_named_when_it_is_built(packages, tmp_path):
    small = language_model(head=8)
    (tmp_path / "work").mkdir()
    model = GenAi().apply(loaded(small, tmp_path / "loaded"), None, tmp_path / "work")
    (tmp_path / "payload").mkdir()
    with raises(UnsupportedError, "head_size", hint="int4-weights"):
        OnnxRuntime().build(model, load_target("host"), {}, tmp_path / "payload")


def test_a_model_that_generates_no_text_is_refused(tmp_path):
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(vocab_size=20, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    model = loaded(BertForSequenceClassification(config).eval(), tmp_path / "loaded")
    with raises(UnsupportedError, ("BertForSequenceClassification", "text-classification"), hint="recipes"):
        GenAi().apply(model, None, tmp_path)


def test_packages_that_cannot_be_installed_are_a_fault_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(genai_packages, "LOCK", (str(tmp_path / "missing.whl"),))
    with raises(EnvironmentFault, "missing.whl", hint="network"):
        genai_packages.folder()
    assert edgekit.cache.usage() == ()


def test_doctor_names_the_packages_and_the_cache_counts_them(tmp_path, monkeypatch):
    from edgekit import cache
    from edgekit.cli import diagnosis

    def install(work):
        (work / "package.py").write_text("x" * 3_000_000)

    monkeypatch.setenv("EDGEKIT_CACHE_DIR", str(tmp_path))
    assert not [finding for finding in diagnosis._environments() if finding.name == genai_packages.STEP]
    cache.fetch("0" * 64, genai_packages.STEP, install)
    (finding,) = [finding for finding in diagnosis._environments() if finding.name == genai_packages.STEP]
    assert finding.state == "ok" and "3 MB" in finding.words
    assert [entry.step for entry in cache.usage()] == [genai_packages.STEP]
