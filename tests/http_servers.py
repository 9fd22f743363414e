"""HTTP servers on loopback that note what they are asked and answer as told."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True)
class Asked:
    """One request; ``target`` is its path with the query, as it was sent."""

    method: str
    path: str
    target: str
    query: dict[str, str]
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    def envelope_items(self) -> list[dict[str, Any]]:
        """The items of a Sentry envelope; the header of each is its ``"header"``."""
        packed = self.headers.get("Content-Encoding") == "gzip"
        data = gzip.decompress(self.body) if packed else self.body
        _, _, data = data.partition(b"\n")
        items = []
        while data:
            line, _, data = data.partition(b"\n")
            header = json.loads(line)
            length = header["length"]
            items.append({"header": header, **json.loads(data[:length])})
            data = data[length:].lstrip(b"\n")
        return items


class Server:
    """Answers ``answer(asked)``: a status and a text, or bytes that are sent as they are.

    While ``hangs`` is set it reads requests and says nothing.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.answer = lambda asked: (200, "OK")
        self.released = threading.Event()
        self.hangs = False
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def handle_any(self) -> None:
                outer.handle(self)

            do_GET = do_POST = handle_any  # noqa: N815

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def handle(self, handler: BaseHTTPRequestHandler) -> None:
        url = urlsplit(handler.path)
        asked = Asked(
            handler.command,
            url.path,
            handler.path,
            {name: values[0] for name, values in parse_qs(url.query).items()},
            handler.headers,
            handler.rfile.read(int(handler.headers.get("Content-Length") or 0)),
        )
        self.asked.append(asked)
        if self.hangs:
            self.released.wait(60)
            return
        answer = self.answer(asked)
        if isinstance(answer, bytes):
            handler.wfile.write(answer)
            return
        status, text = answer
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(text.encode())))
        handler.end_headers()
        handler.wfile.write(text.encode())

    @property
    def paths(self) -> list[str]:
        return [asked.path for asked in self.asked]


@contextmanager
def serving() -> Iterator[Server]:
    """Serve until the end of the block."""
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.http.shutdown()
        server.http.server_close()
        thread.join()


def nobody_there() -> str:
    """A URL on loopback at which nobody listens."""
    with serving() as server:
        return server.url
