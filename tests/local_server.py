"""An HTTP server on this machine that misbehaves on demand: a behaviour per path, and a list of all requests."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread


@dataclass
class Seen:
    """One request, and what was sent for it."""

    path: str
    headers: dict[str, str]
    status: int = 0
    sent: int = 0  # bytes of the body


Behaviour = Callable[["Handler", Seen], None]


@dataclass
class LocalServer:
    url: str = ""
    paths: dict[str, Behaviour] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)

    def serve(self, path: str, *turns: Behaviour) -> str:
        """What to do with each request for `path` in turn, the last for all further ones; returns the address."""
        waiting = list(turns)
        self.paths[path] = lambda handler, seen: (waiting.pop(0) if len(waiting) > 1 else waiting[0])(handler, seen)
        return self.url + path


class Handler(BaseHTTPRequestHandler):
    local: LocalServer

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: the tests read `LocalServer.seen`."""

    def do_GET(self) -> None:
        seen = Seen(self.path, dict(self.headers.items()))
        self.local.seen.append(seen)
        self.local.paths.get(self.path, status(404))(self, seen)

    def start(self, seen: Seen, code: int, headers: dict[str, str]) -> None:
        seen.status = code
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()

    def send(self, seen: Seen, content: bytes) -> None:
        seen.sent += len(content)  # first: the client may have it, and the test end, before the next line runs here
        self.wfile.write(content)


def status(code: int, **headers: str) -> Behaviour:
    def behave(handler: Handler, seen: Seen) -> None:
        named = {key.replace("_", "-"): value for key, value in headers.items()}
        handler.start(seen, code, {"Content-Length": "0", **named})

    return behave


def file(
    content: bytes,
    *,
    drop_after: int | None = None,  # bytes of a body, then the connection ends
    ranges: bool = True,
    etag: str | None = '"1"',
    modified: str | None = None,
    length: int | None = None,  # what Content-Length says of the whole; None: the truth
    pause_s: float = 0.0,  # before each piece
    piece: int = 1 << 20,
    **headers: str,  # further ones
) -> Behaviour:
    """A file, as a good server sends it or with one fault."""

    def behave(handler: Handler, seen: Seen) -> None:
        first = int(re.sub(r"bytes=(\d+)-", r"\1", seen.headers.get("Range", "bytes=0-")))
        if not ranges or seen.headers.get("If-Range") not in (None, etag, modified):
            first = 0
        if first >= len(content) > 0:
            return handler.start(seen, 416, {"Content-Range": f"bytes */{len(content)}", "Content-Length": "0"})
        rest = content[first:]
        given = {"Content-Length": str(len(rest) if length is None else length - first), "ETag": etag}
        given |= {"Last-Modified": modified, **{key.replace("_", "-"): value for key, value in headers.items()}}
        if first:
            given["Content-Range"] = given.get("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        handler.start(seen, 206 if first else 200, {key: value for key, value in given.items() if value is not None})
        for at in range(0, len(rest[:drop_after]), piece):
            time.sleep(pause_s)
            handler.send(seen, rest[:drop_after][at : at + piece])
        return None

    return behave


def endless(handler: Handler, seen: Seen) -> None:
    """A body without a length and without an end, until the client goes."""
    handler.start(seen, 200, {})
    try:
        while seen.sent < 1 << 26:
            handler.send(seen, b"\0" * 4096)
    except OSError:
        return


@contextmanager
def running_server() -> Iterator[LocalServer]:
    """A server on a free port of this machine, for the time of a `with`."""
    local = LocalServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("LocalHandler", (Handler,), {"local": local}))
    server.daemon_threads = True
    server.handle_error = lambda request, address: None  # clients that go away in the middle are what is tested
    local.url = f"http://127.0.0.1:{server.server_port}"
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield local
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
