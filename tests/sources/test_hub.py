"""Models named by `hf:org/name`: from the hub's own cache; each way to fail is explained."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from tests.wording import mentions

SAVED_BY_5 = Path(__file__).parent.parent / "fixtures" / "transformers5"
OPEN = SAVED_BY_5 / "bert"

CHECK = """
import json, sys
from pathlib import Path
from edgekit.errors import EdgekitError
from edgekit.model import Reference
from edgekit.sources.hf import HuggingFace

reference = Reference(**json.loads(sys.argv[1]))
try:
    source = HuggingFace()
    source.check(reference)
    print(json.dumps({"digest": source.digest(reference), "torch": "torch" in sys.modules}))
except EdgekitError as error:
    print(json.dumps(error.to_dict()))
"""


def ask(home: Path, endpoint: str | None = None, variable: bool = False, **reference) -> dict:
    """Return a reference's digest, or its error, from a child process: the hub's client reads its environment once."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment |= {"HF_HOME": str(home), "HF_ENDPOINT": endpoint or "http://127.0.0.1:9"}
    if variable:
        environment["HF_HUB_OFFLINE"] = "1"
    done = subprocess.run(
        [sys.executable, "-c", CHECK, json.dumps(reference)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def cached(tmp_path: Path) -> Path:
    """A hub cache that holds acme/tiny."""
    model = tmp_path / "home" / "hub" / "models--acme--tiny"
    shutil.copytree(SAVED_BY_5 / "bert", model / "snapshots" / ("a" * 40))
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("a" * 40)
    return tmp_path / "home"


@pytest.mark.parametrize("by_variable", [True, False])
def test_offline_takes_the_cache(cached, by_variable):
    result = ask(cached, variable=by_variable, ref="hf:acme/tiny", offline=not by_variable)
    assert len(result["digest"]) == 64 and not result["torch"]


def test_offline_without_the_model_names_the_download(cached):
    error = ask(cached, ref="hf:acme/other", offline=True)
    assert error["exit_code"] == 2 and mentions(error["message"], "'acme/other'")
    assert "hf download acme/other" in error["hint"]


def test_no_network_is_the_environments_fault(cached):
    error = ask(cached, ref="hf:acme/other")
    assert error["exit_code"] == 3 and mentions(error["message"], "hub")


def test_bad_names_are_refused(cached):
    error = ask(cached, ref="hf:tiny")
    assert error["exit_code"] == 2 and "hf:org/name" in error["hint"]


class Hub(http.server.BaseHTTPRequestHandler):
    """Answer as the hub does: one model to download, others gated, missing, or without the revision."""

    refusals: ClassVar = {
        "acme/gated": (403, "GatedRepo"),
        "acme/secret": (401, "RepoNotFound"),
        "acme/tiny": (404, "RevisionNotFound"),
    }
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        commit = "b" * 40
        if self.path.startswith("/api/models/acme/open/"):
            names = [file.name for file in OPEN.iterdir()] + ["model.gguf", "run.py"]
            body = json.dumps({"id": "acme/open", "sha": commit, "siblings": [{"rfilename": name} for name in names]})
            self.answer(200, {"Content-Type": "application/json"}, body.encode())
        elif self.path.startswith("/acme/open/resolve/"):
            name = self.path.rpartition("/")[2]
            self.asked.append(name)
            self.answer(200, {"ETag": f'"{name}"', "X-Repo-Commit": commit}, (OPEN / name).read_bytes())
        else:
            name = self.path.split("/api/models/")[-1].split("/revision/")[0]
            status, code = self.refusals[name]
            self.answer(status, {"X-Error-Code": code}, b"")

    do_HEAD = do_GET

    def answer(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def endpoint():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("reference", "message", "hint"),
    [
        ({"ref": "hf:acme/gated"}, ["'acme/gated'", "gated"], "huggingface.co/acme/gated"),
        ({"ref": "hf:acme/secret"}, "'acme/secret'", "hf auth login"),
        ({"ref": "hf:acme/tiny", "revision": "v9"}, ["'acme/tiny'", "'v9'"], "acme/tiny/tree/main"),
    ],
)
def test_refusals_of_the_hub_are_explained(tmp_path, endpoint, reference, message, hint):
    error = ask(tmp_path, endpoint, **reference)
    assert error["exit_code"] == 2 and mentions(error["message"], message) and hint in error["hint"]


def test_only_files_that_define_the_model_are_downloaded(tmp_path, endpoint):
    result = ask(tmp_path, endpoint, ref="hf:acme/open")
    assert len(result["digest"]) == 64
    needed = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert set(Hub.asked) == needed
    assert ask(tmp_path, ref="hf:acme/open", offline=True)["digest"] == result["digest"]
