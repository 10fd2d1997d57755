"""Hub ids: a small hub on this machine, and a hub that does not answer."""

from __future__ import annotations

import hashlib
import http.server
import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import huggingface_hub.file_download
import pytest

from emo.errors import ModelError, ResourceError
from emo.model import load_model, source
from emo.model.source import find_model

COMMIT = "c0ffee" + "0" * 34


class Hub(http.server.BaseHTTPRequestHandler):
    """Answers as the hub does for the model ``lab/tiny``."""

    folder: Path

    def log_message(self, *_args: object) -> None:
        """Stay silent."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        names = sorted(file.name for file in self.folder.iterdir())
        if not path.removeprefix("/api/models").startswith("/lab/tiny"):
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif "/absent" in path:
            self._send(404, b"", {"X-Error-Code": "RevisionNotFound"})
        elif "/tree/" in path:
            tree = [self._entry(self.folder / name) for name in names]
            self._send(200, json.dumps(tree).encode())
        elif path.startswith("/api/"):
            siblings = [{"rfilename": name} for name in names]
            info = {"id": "lab/tiny", "modelId": "lab/tiny", "sha": COMMIT, "siblings": siblings}
            self._send(200, json.dumps({**info, "private": False, "tags": []}).encode())
        else:
            self._send(200, (self.folder / path.rsplit("/", 1)[1]).read_bytes())

    @staticmethod
    def _entry(file: Path) -> dict[str, object]:
        content = file.read_bytes()
        oid = hashlib.sha1(content).hexdigest()
        return {"type": "file", "path": file.name, "size": len(content), "oid": oid}

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        etag = f'"{hashlib.sha1(body).hexdigest()}"'
        fields = {"Content-Length": str(len(body)), "X-Repo-Commit": COMMIT, "ETag": etag}
        for key, value in {**fields, **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)


@pytest.fixture
def hub_folder(tiny_folder: Path, tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    for file in tiny_folder.iterdir():
        (folder / file.name).symlink_to(file)
    return folder


@pytest.fixture
def hub(hub_folder: Path, tmp_path: Path, monkeypatch) -> Iterator[http.server.HTTPServer]:
    """Point the hub client at a server on this machine with an empty cache."""
    handler = type("Handler", (Hub,), {"folder": hub_folder})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    constants = huggingface_hub.constants
    endpoint = f"http://127.0.0.1:{server.server_port}"
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    for place in (constants, huggingface_hub.file_download):
        monkeypatch.setattr(place, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)
    yield server
    server.shutdown()
    server.server_close()


def test_a_hub_model_records_its_commit(hub, tiny_llama) -> None:
    model = load_model("lab/tiny", device="cpu")
    assert model.revision == COMMIT
    assert model.name == "lab/tiny"
    assert model.folder is not None
    assert model.folder.name == COMMIT
    assert model.n_layers == tiny_llama.n_layers


def test_a_model_on_this_machine_serves_without_the_hub(hub, monkeypatch) -> None:
    online = find_model("lab/tiny", revision=None)
    hub.shutdown()
    hub.server_close()
    assert find_model("lab/tiny", revision=None) == online
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert find_model("lab/tiny", revision=None) == online


def test_unknown_repository_and_revision(hub) -> None:
    with pytest.raises(ModelError, match="no hub model 'lab/other'"):
        find_model("lab/other", revision=None)
    with pytest.raises(ModelError, match="no revision 'absent'"):
        find_model("lab/tiny", revision="absent")


def test_pickled_weights_are_refused_before_the_download(hub, hub_folder, tmp_path) -> None:
    (hub_folder / "model.safetensors").rename(hub_folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match="pickled weights"):
        find_model("lab/tiny", revision=None)
    assert not (tmp_path / "cache").exists()


def test_offline_answers_at_once(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    start = time.monotonic()
    with pytest.raises(ResourceError, match="offline mode is on") as caught:
        find_model("lab/tiny", revision=None)
    assert caught.value.hint is not None
    assert time.monotonic() - start < 2


def test_a_hub_that_does_not_answer(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(source, "_TIMEOUT", 0.3)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", endpoint)
        start = time.monotonic()
        with pytest.raises(ResourceError, match="the hub cannot be reached"):
            find_model("lab/tiny", revision=None)
    assert time.monotonic() - start < 30
