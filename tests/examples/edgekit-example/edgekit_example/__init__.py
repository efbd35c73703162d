"""An edgekit backend in one file: numpy runs `linear` models, y = x @ weight + bias, from an npz file."""

from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version

from edgekit.errors import ArtifactError, EdgekitError, UnsupportedError
from edgekit.plugin import API, Built, Precision, Probe, Record, Support, check_feeds


class Linear:
    api, name, summary, accepts = API, "linear", "linear models on numpy", frozenset({"linear"})

    @dataclass(frozen=True)
    class options(Record):
        """None yet; from_dict refuses the unknown ones."""

    def probe(self):
        return Probe(True, {"numpy": version("numpy")}, devices=("CPU",))

    def supports(self, model, target):
        return Support(() if model.format in self.accepts else (f"linear cannot read '{model.format}'",))

    def build(self, model, target, options, workdir):
        self.options.from_dict(options, "linear options")
        if problems := self.supports(model, target).problems:
            raise UnsupportedError(f"linear cannot run this model on '{target.name}':", problems=problems)
        (workdir / "model.npz").write_bytes(model.graph.read_bytes())
        return Built(("model.npz",), model.part.inputs, model.part.outputs)

    def open(self, payload):
        import numpy  # the runtime is imported on use, never at the top

        try:
            with payload.main.open("rb") as file:
                return LinearSession(payload, dict(numpy.load(file)))
        except Exception as error:  # whatever a runtime raises becomes ours, with the cause chained
            raise ArtifactError(f"'{payload.main}' is no linear model: {error}.") from error


class LinearSession(ExitStack):  # which brings close, __enter__ and __exit__
    precision = Precision("f32", {"f32": 1})

    def __init__(self, payload, arrays):
        super().__init__()
        self.inputs, self.outputs, self.arrays = payload.inputs, payload.outputs, arrays
        self.callback(arrays.clear)

    def run(self, feeds):
        if not self.arrays:
            raise EdgekitError("the session is closed.")
        check_feeds(self.inputs, feeds)
        return {self.outputs[0].name: feeds[self.inputs[0].name] @ self.arrays["weight"] + self.arrays["bias"]}

    def bind(self, feeds):
        self.run(feeds)
        return lambda: self.run(feeds) and None

    def profile(self, feeds):
        raise UnsupportedError("linear does not time its layers.")
