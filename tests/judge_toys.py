"""Texts with known words, and a real server that speaks the chat-completions protocol."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from emo.data.samples import Sample
from emo.data.texts import Text, text_id
from emo.judge.labelled import Labelled

TOPICS = ("bus", "lease", "soup", "match", "letter", "garden", "train", "exam", "lamp", "choir")
WORDS = {
    "anger": ("furious", "livid", "outraged", "seething"),
    "happiness": ("delighted", "overjoyed", "thrilled", "glad"),
    "neutral": ("ready", "informed", "present", "seated"),
}


def labelled_texts() -> list[Labelled]:
    """Forty short texts of each of three classes."""
    return [
        Labelled(f"{topic.capitalize()} {number} leaves Ann {word}.", emotion)
        for emotion, words in WORDS.items()
        for word in words
        for number, topic in enumerate(TOPICS)
    ]


def text(
    reply: str, emotion: str | None = None, method: str | None = None, sample: str = "s-positive"
) -> Text:
    """Text with a reply; the rest as short as it may be."""
    source = Sample(sample, sample, valence="positive", scenario="I asked.", event="He agreed.")
    method = method or ("prompting" if emotion else "baseline")
    return Text(text_id(sample, emotion, method), source, emotion, method, reply, "", 3, True)


Answer = Callable[[dict[str, Any]], tuple[int, Any]]


def content(word: str | None, finish: str = "stop") -> tuple[int, Any]:
    """Successful answer of a chat model that said `word`."""
    message = {"role": "assistant", "content": word}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return 200, {"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                 "choices": [choice]}  # fmt: skip


@contextmanager
def chat_server(answer: Answer) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve ``POST /v1/chat/completions``; yields the base URL and the requests seen."""
    seen: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            request = {"path": self.path, "key": self.headers["Authorization"], **body}
            seen.append(request)
            status, value = answer(request)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
