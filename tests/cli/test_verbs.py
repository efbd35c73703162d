"""Each verb on real things."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest

from edgekit import registry
from edgekit.result.report import Report
from tests.wording import mentions


def test_run_answers_for_an_image(exported, run):
    result = run("run", exported.path, exported.image, "--json")
    assert result.exit_code == 0, result.stderr
    facts = json.loads(result.stdout)
    assert facts["answer"]["label"] == "top"
    assert facts["model_ms"] > 0
    assert facts["precision"] == "f32"
    text = run("run", exported.path, exported.image).stdout
    assert "top" in text and "model only: " in text


def test_run_takes_arrays(exported, run, tmp_path):
    np.savez(tmp_path / "feeds.npz", pixel_values=np.ones((1, 1, 8, 8), np.float32))
    answer = json.loads(run("run", exported.path, tmp_path / "feeds.npz", "--json").stdout)["answer"]
    assert len(answer["top"]) == 3


def test_run_takes_a_text_a_pair_and_stdin(sentences, run, tmp_path):
    answer = json.loads(run("run", sentences, "a man plays", "--json").stdout)["answer"]
    assert answer["dimensions"] == 6
    pair = run("run", sentences, "a man", "a man", "--json")
    assert pair.exit_code == 0, pair.stderr
    assert json.loads(pair.stdout)["answer"]["similarity"] == pytest.approx(1.0)
    assert json.loads(run("run", sentences, "music", "rain", "--json").stdout)["answer"]["similarity"] == 0.0
    piped = run("run", sentences, "-", "--json", stdin="a man plays\n")
    assert json.loads(piped.stdout)["answer"] == answer
    assert run("run", sentences, "a", "b", "c").exit_code == 2
    file = run("run", sentences, __file__)
    assert file.exit_code == 2 and mentions(file.stderr, "file", "text", "- <")
    assert run("run", sentences, "long " * 2000, "--json").exit_code == 0
    table = tmp_path / "texts.csv"
    table.write_text("text,label\na man plays,1\n")
    (line,) = run("run", sentences, table).stdout.splitlines()
    assert json.loads(line) == {"input": f"{table}:1", "answer": answer}
    nothing = run("run", sentences, "-", stdin="\n")
    assert nothing.exit_code == 2 and mentions(nothing.stderr, "text", "stdin")


def npy(array) -> bytes:
    """Return what numpy.save writes, whatever the file is called."""
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("write", "facts"),
    [
        (lambda p: None, "feeds.npz'"),
        (lambda p: p.write_text("not an archive"), ["feeds.npz'", "arrays"]),
        (lambda p: p.write_bytes(npy(np.ones(3))), ["feeds.npz'", "arrays"]),
        (lambda p: np.savez(p, pixel_valeus=np.ones((1, 1, 8, 8), np.float32)), ("'pixel_valeus'", "'pixel_values'")),
        (lambda p: np.savez(p, pixel_values=np.ones((1, 1, 8, 9), np.float32)), ("'pixel_values'", "[1, 1, 8, 9]")),
        (lambda p: np.savez(p, pixel_values=np.ones((1, 1, 8, 8))), ("float64", "float32")),
    ],
)
def test_run_refuses_arrays_that_do_not_fit(exported, run, tmp_path, write, facts):
    write(tmp_path / "feeds.npz")
    result = run("run", exported.path, tmp_path / "feeds.npz")
    assert result.exit_code == 2
    assert mentions(result.stderr, facts)


def test_run_refuses_what_is_not_an_image(exported, run, tmp_path):
    assert run("run", exported.path, tmp_path / "none.png").exit_code == 2
    (tmp_path / "text.png").write_text("hello")
    result = run("run", exported.path, tmp_path / "text.png")
    assert result.exit_code == 2 and mentions(result.stderr, "text.png'")


def test_an_altered_bundle_is_refused(exported, run, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(exported.path, copy)
    (copy / "assets" / "task.json").write_text("{}")
    for verb in (("run", copy, exported.image), ("verify", copy), ("inspect", copy)):
        result = run(*verb)
        assert result.exit_code == 8, verb
        assert "assets/task.json" in result.stderr


def test_verify_passes_and_fails(exported, run, tmp_path):
    good = run("verify", exported.path, "--json")
    assert good.exit_code == 0, good.stderr
    assert json.loads(good.stdout)["failures"] == []
    text = run("verify", exported.path)
    assert text.stdout.startswith("VERIFIED")


def test_verify_reads_a_drop_as_an_export_does(exported, run):
    result = run("verify", exported.path, "--data", "none.npz", "--max-drop", "2")
    assert result.exit_code == 2 and mentions(result.stderr, "max_drop = 2", "2%")


def test_verify_refuses_data_options_without_data(exported, run):
    result = run("verify", exported.path, "--split", "test")
    assert result.exit_code == 2
    assert "--split" in result.stderr


def test_bench_measures_in_a_process(exported, shell, tmp_path):
    result = shell("bench", exported.path, "--seconds", "0.2", "--json", "--report", tmp_path / "b.html", "-q")
    assert result.returncode == 0, result.stderr
    report = Report.from_dict(json.loads(result.stdout))
    assert report.candidates[0].measurement.percentiles_ms["p50"] > 0
    assert result.stderr == ""
    assert "MEASURED" in (tmp_path / "b.html").read_text()


def test_inspect_a_bundle(exported, run, tmp_path):
    text = run("inspect", exported.path).stdout
    assert mentions(text, "bright", ("onnxruntime", "fp32"), "pixel_values:f32[1,1,8,8]", ("files", "intact"))
    facts = json.loads(run("inspect", exported.path, "--json").stdout)
    assert facts["sound"] and facts["manifest"]["name"] == "bright"
    assert run("inspect", exported.path, "--report", tmp_path / "r.md").exit_code == 0
    assert (tmp_path / "r.md").read_text().startswith("# Shipped")


def test_inspect_a_target_and_what_is_nothing(run, tmp_path):
    assert "device, arch" in run("inspect", "host").stdout
    assert json.loads(run("inspect", "host", "--json").stdout)["kind"] == "target"
    (tmp_path / "readme.txt").touch()
    result = run("inspect", tmp_path)
    assert result.exit_code == 2
    assert "readme.txt" in result.stderr


def test_targets(run):
    listed = run("targets").stdout
    assert "host" in listed and "jetson" in listed
    assert {row["name"] for row in json.loads(run("targets", "--json").stdout)["targets"]} >= {"host", "jetson"}
    unknown = run("targets", "jetsno")
    assert unknown.exit_code == 2
    assert "'jetson'" in unknown.stderr


def test_one_bad_target_file_hides_no_other(run, tmp_path, monkeypatch):
    (tmp_path / "bad.toml").write_text("summary = ")
    monkeypatch.setenv("EDGEKIT_TARGETS", str(tmp_path))
    result = run("targets")
    assert result.exit_code == 0
    assert mentions(result.stdout, "bad:") and "host" in result.stdout


def test_recipes(run, tmp_path):
    assert "int8-static" in run("recipes").stdout
    assert "quantize-static" in run("recipes", "int8-static-bf16").stdout
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\nsummary = "mine"\n[[passes]]\nname = "cast"\nconfig = { dtype = "f16" }\n')
    assert json.loads(run("recipes", own, "--json").stdout)["name"] == "own"
    assert run("recipes", "int9").exit_code == 2


def test_a_recipe_is_written_as_the_file_that_repeats_it(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "mine.toml").write_text(run("recipes", "int8-percentile").stdout)
    (tmp_path / "recipes" / "bad.toml").write_text("summary = ")
    listed = run("recipes")
    assert listed.exit_code == 0
    assert "  mine " in listed.stdout and mentions(listed.stdout, "bad.toml:")
    recipe = json.loads(run("recipes", "mine", "--json").stdout)
    assert recipe["passes"] == [{"name": "quantize-static", "config": {"method": "percentile"}}]
    assert {row["name"] for row in json.loads(run("recipes", "--json").stdout)["recipes"]} >= {"mine", "int8-static"}


def test_plugins(run):
    facts = json.loads(run("plugins", "--json").stdout)
    backends = {backend["name"]: backend for backend in facts["backends"]}
    assert backends["onnxruntime"]["available"]
    assert "quantize-static" in facts["passes"]
    assert "onnxruntime" in run("plugins").stdout


def test_init_writes_a_project_that_loads(run, tmp_path, monkeypatch):
    from edgekit import project

    monkeypatch.chdir(tmp_path)
    assert run("init").exit_code == 0
    assert project.load().target == "host"
    again = run("init")
    assert again.exit_code == 2
    assert "exists already" in again.stderr
    assert run("init", "nowhere/edgekit.toml").exit_code == 2


def test_cache(run, tmp_path):
    from edgekit import cache

    def make(work):
        (work / "data").write_bytes(bytes(1000))

    place = ("--cache-dir", tmp_path)
    assert "0 steps" in run("cache", *place).stdout
    from edgekit.cli import output

    with output.cache_at(tmp_path):
        cache.fetch("ab" * 32, "export", make)
    assert run("cache", "path", *place).stdout.strip() == str(tmp_path)
    listed = json.loads(run("cache", "list", *place, "--json").stdout)["entries"]
    assert [(entry["step"], entry["bytes"]) for entry in listed] == [("export", 1000)]
    assert json.loads(run("cache", "clear", *place, "--json").stdout)["freed_bytes"] == 1000
    assert mentions(run("cache", "list", *place).stdout, "empty")


@pytest.mark.parametrize(
    ("args", "facts"),
    [
        (("a", "-m", "b"), ("'a'", "'b'")),
        (("a", "--shape", "batch"), "'batch'"),
        (("a", "--shape", "batch=0"), "'batch=0'"),
        (("a", "--target", "jetsno"), ("'jetsno'", "'jetson'")),
        (("a", "--report", "r.pdf"), "'.pdf'"),
        (("a", "--report", "nowhere/r.html"), "'nowhere'"),
        (("a", "--project", "none.toml"), "'none.toml'"),
        (("no such model",), "'no such model'"),
        ((), ["model", "edgekit.toml"]),
    ],
)
def test_export_refuses_bad_options(args, facts, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run("export", *args)
    assert result.exit_code == 2, result.stderr
    assert mentions(result.stderr, facts)
    assert list(tmp_path.iterdir()) == []


def test_only_what_was_typed_overrides_the_project(tmp_path, monkeypatch, exported, run):
    monkeypatch.chdir(tmp_path)
    model = exported.path / "model" / "model.onnx"
    (tmp_path / "edgekit.toml").write_text(
        f'model = "{model}"\nseed = 7\nbench = false\nmax_samples = 11\n[shapes]\nbatch = 1\n'
    )
    result = run("export", "--dry-run", "--seed", "8", "--candidate", "onnxruntime/fp32")
    assert result.exit_code == 0, result.stderr
    for line in ("seed = 8", "bench = false", "max_samples = 11", 'candidates = ["onnxruntime/fp32"]'):
        assert line in result.stdout
    (tmp_path / "plan.toml").write_text(result.stdout)
    assert run("export", "--dry-run", "--project", "plan.toml").stdout == result.stdout


def test_text_that_is_not_utf8_is_refused(sentences, run):
    given = run("run", sentences, "caf\udce9")  # how Python represents a byte that is not UTF-8
    assert given.exit_code == 2 and "not UTF-8" in given.stderr


def test_a_backend_whose_probe_raises_does_not_hide_the_others(run, monkeypatch):
    class Broken:
        summary = "a broken one"

        def probe(self):
            raise SystemExit(3)

    real = registry.backend
    monkeypatch.setattr(registry, "names", lambda kind: ("broken", "onnxruntime") if kind == "backend" else ())
    monkeypatch.setattr(registry, "distribution", lambda kind, name: f"edgekit-{name} 1.0")
    monkeypatch.setattr(registry, "backend", lambda name: Broken() if name == "broken" else real(name))
    listed = run("plugins")
    assert listed.exit_code == 0, listed.stderr
    assert mentions(listed.stdout, "SystemExit: 3") and "onnxruntime" in listed.stdout


def test_bench_reports_memory_and_cold_start_and_takes_long(exported, run):
    text = run("bench", exported.path, "--seconds", "0.2").stdout
    assert "MB of memory at peak" in text and "cold start" in text
    twice = run("bench", exported.path, exported.path)
    assert twice.exit_code == 2 and "twice" in twice.stderr


def test_verify_counts_the_samples_that_have_a_label(exported, run, tmp_path, monkeypatch):
    (tmp_path / "some.py").write_text(
        "import numpy as np\n"
        "def rows():\n"
        "    for index in range(6):\n"
        "        x = np.zeros((1, 8, 8), np.float32)\n"
        "        x[:, :4] = 1\n"
        "        yield {'pixel_values': x, 'label': 'top' if index % 3 else None}\n"
    )
    monkeypatch.chdir(tmp_path)
    done = run("verify", exported.path, "--data", "some:rows")
    assert done.exit_code == 0, done.stderr
    assert done.stdout.startswith("NOT JUDGED")
    assert "accuracy 1.0000 on 4 labelled samples" in done.stdout
    assert mentions(done.stdout, "2 of 6 samples", "label")
