"""An edgekit backend in one file: numpy runs `linear` models, y = x @ weight + bias, from an npz file."""

from dataclasses import dataclass
from importlib.metadata import version

from edgekit.errors import ArtifactError, EdgekitError, UnsupportedError
from edgekit.plugin import Built, Precision, Probe, Record, Support, check_feeds


class Linear:
    api, name, summary, accepts = 2, "linear", "linear models on numpy", frozenset({"linear"})

    @dataclass(frozen=True)
    class options(Record):
        """No options; from_dict raises UsageError for unknown ones."""

    def probe(self):
        return Probe(True, {"numpy": version("numpy")}, devices=("CPU",))

    def supports(self, model, target):
        return Support(() if model.format in self.accepts else (f"linear cannot read '{model.format}'",))

    def build(self, model, target, options, workdir):
        self.options.from_dict(options, "linear options")
        (workdir / "model.npz").write_bytes(model.graph.read_bytes())
        return Built(("model.npz",))

    def open(self, payload):
        import numpy  # the runtime is imported on use, never at the top

        try:
            with payload.main.open("rb") as file:
                return LinearSession(payload.part, dict(numpy.load(file)))
        except Exception as error:  # the runtime's exception becomes edgekit's, with the cause chained
            raise ArtifactError(f"'{payload.main}' is not a linear model: {error}.") from error


class LinearSession:
    precision = Precision("f32", {"f32": 1})

    def __init__(self, part, arrays):
        self.inputs, self.outputs, self.arrays = part.inputs, part.outputs, arrays

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

    def close(self):
        self.arrays.clear()
