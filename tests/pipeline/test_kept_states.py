"""States that a runtime keeps itself: the same tokens and scores as with states in numpy, and as transformers'."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from edgekit_onnxruntime import OnnxRuntime
from edgekit_openvino import OpenVino
from onnx import numpy_helper

from edgekit.data import Sample
from edgekit.errors import UsageError
from edgekit.model import Reference
from edgekit.passes.export import seq2seq
from edgekit.passes.export.export import Export
from edgekit.plugin import Payload, Stateful
from edgekit.runner import Program, Runner
from edgekit.sources.torch_module import InMemoryModule
from edgekit.spec import DECODER, ENCODER
from edgekit.target import host
from edgekit.target.target import Device, Target
from edgekit.tasks import drive, load
from edgekit.tasks.config import TaskConfig
from edgekit.testing._threads import in_threads
from tests.pipeline.test_seq2seq import ids, marian, t5
from tests.wording import raises

torch = pytest.importorskip("torch")

BACKENDS = {"onnxruntime": OnnxRuntime(), "openvino": OpenVino()}
TOLERANCE = {"onnxruntime": 0.0, "openvino": 1e-4}


class InNumpy:
    """A session without `step`: the runner keeps its states as arrays."""

    def __init__(self, session):
        self.run, self.bind, self.close = session.run, session.bind, session.close
        self.inputs, self.outputs, self.precision = session.inputs, session.outputs, None
        self.profile = session.profile


@pytest.fixture(scope="module", params=["marian", "t5", "marian with a prompt"])
def exported(request, tmp_path_factory):
    """Return the module, its task and the parts compiled by each backend."""
    work = tmp_path_factory.mktemp("exported")
    module = t5() if request.param == "t5" else marian()
    module.generation_config.update(min_new_tokens=6, no_repeat_ngram_size=1)
    (work / "model").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        if "prompt" in request.param:
            patch.setattr(seq2seq, "_fed_one_by_one", lambda model: False)
        model = Export().apply(InMemoryModule(module).load(Reference("live"), work), None, work / "model")
    here = host.probe()
    target = Target("host", "this machine", device=Device(arch=here.arch, isa=here.isa, cores=here.cores))
    programs = {}
    for name, backend in BACKENDS.items():
        payloads = []
        for part in model.parts:
            folder = work / name / part.name
            folder.mkdir(parents=True)
            built = backend.build(model.only(part.name), target, {}, folder)
            payloads.append(Payload(folder, built.files, built.part or part, built.options))
        programs[name] = Program(tuple(payloads), model.states)
    return module, load(TaskConfig.load(model.assets), model.assets, model.inputs), programs


def sample(size):
    source = np.random.default_rng(size).integers(3, 30, (1, size))
    return Sample({"input_ids": source, "attention_mask": np.ones_like(source)})


@pytest.mark.parametrize("backend", BACKENDS)
def test_scores_and_ids_do_not_depend_on_who_keeps_the_states(exported, backend):
    module, task, programs = exported
    program = programs[backend]
    with program.open(BACKENDS[backend]) as kept:
        assert all(isinstance(session, Stateful) for session in kept.sessions.values())
        plain = {name: InNumpy(session) for name, session in kept.sessions.items()}
        in_numpy = Runner(plain, [payload.part for payload in program.payloads], program.states)
        for size in (5, 2, 7):
            inferences = drive(task, sample(size), kept.start())
            trace = [(each.part, each.feeds) for each in inferences]
            assert len(trace) > 3
            for ours, theirs in zip(inferences, in_numpy.replay(trace), strict=True):
                assert set(ours.outputs) == set(theirs)
                for name, array in theirs.items():
                    np.testing.assert_allclose(ours.outputs[name], array, rtol=0, atol=TOLERANCE[backend])
            feeds = {name: torch.from_numpy(array) for name, array in task.feeds(sample(size))[0].items()}
            for beams in (1, 3):
                searching = with_beams(task, beams)
                expected = ids(module, feeds, num_beams=beams)
                assert list(searching.stream(sample(size), kept)) == expected
                assert list(searching.stream(sample(size), in_numpy)) == expected


def with_beams(task, beams):
    from dataclasses import replace

    config = replace(task.config, generation=replace(task.generation, beams=beams))
    return replace(task, config=config)


@pytest.mark.parametrize("backend", BACKENDS)
def test_threads_generate_with_states_of_their_own(exported, backend):
    _, task, programs = exported
    searching = with_beams(task, 2)
    with programs[backend].open(BACKENDS[backend]) as runner:
        expected = [list(searching.stream(sample(size), runner)) for size in range(1, 7)]

        def work(number):
            for _ in range(3):
                assert list(searching.stream(sample(number + 1), runner)) == expected[number]

        in_threads(work)
    assert len({tuple(each) for each in expected}) > 1


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_prompt_of_several_tokens_takes_one_call(exported, backend):
    """The decoder's text starts empty, and its scores are those of the last token, whatever is fed at once."""
    _, task, programs = exported
    (feeds,), prompt = task.feeds(sample(5)), [task.generation.start, 7, 8, 9]

    def scores(calls):
        run = runner.start()
        assert run(ENCODER, feeds) == {}
        for tokens in calls:
            outputs = run(DECODER, {"input_ids": np.array([tokens]), "encoder_attention_mask": feeds["attention_mask"]})
            assert outputs["logits"].shape[:2] == (1, 1)
        return outputs["logits"]

    with programs[backend].open(BACKENDS[backend]) as runner:
        one_by_one = scores([[token] for token in prompt])
        if programs[backend].payloads[1].part.inputs[1].shape[1] == 1:
            with raises(UsageError, "[1, 4]"):  # a decoder whose text begins with one token is made for one
                scores([prompt])
            return
        np.testing.assert_allclose(scores([prompt]), one_by_one, atol=1e-5)
        assert np.abs(scores([prompt[:-1]]) - one_by_one).max() > 1e-3


def test_the_decoders_weights_are_there_once(exported):
    """Of all matrices, only the embedding is in both graphs: the keys and values of the encoder's are made there."""
    module, _, programs = exported
    encoder, decoder = (matrices(payload.main) for payload in programs["onnxruntime"].payloads)
    assert len(encoder) > 8 and len(decoder) > 8
    assert encoder & decoder <= {key(module.get_input_embeddings().weight.detach().numpy())}


def matrices(path):
    tensors = onnx.load(path).graph.initializer
    return {key(numpy_helper.to_array(tensor)) for tensor in tensors if len(tensor.dims) == 2 and min(tensor.dims) > 1}


def key(matrix):
    return min(matrix.tobytes(), matrix.T.tobytes())
