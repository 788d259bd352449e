"""A camera on this machine: an RTSP server (RFC 2326) that plays a transport stream once, within its one connection."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import StreamRequestHandler, ThreadingTCPServer
from threading import Thread

PACKET = 7 * 188  # of a transport stream: what fits into one of Ethernet
DESCRIPTION = b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=camera\r\nt=0 0\r\nm=video 0 RTP/AVP 33\r\na=control:video\r\n"


class Handler(StreamRequestHandler):
    content: bytes

    def handle(self) -> None:
        while request := self.rfile.readline():
            headers = {}
            while line := self.rfile.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name.lower()] = value
            method = request.split()[0].decode()
            number = headers["cseq"]
            if method == "DESCRIBE":
                self.answer(number, b"Content-Type: application/sdp\r\n", DESCRIPTION)
            elif method == "SETUP" and "TCP" not in headers["transport"]:
                self.wfile.write(f"RTSP/1.0 461 Unsupported Transport\r\nCSeq: {number}\r\n\r\n".encode())
            elif method == "SETUP":
                self.answer(number, b"Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n")
            else:
                self.answer(number, b"Session: 1\r\nPublic: DESCRIBE, SETUP, PLAY, TEARDOWN\r\n")
            if method == "PLAY":
                for at in range(0, len(self.content), PACKET):
                    part = self.content[at : at + PACKET]
                    header = struct.pack(">BBHII", 0x80, 33, at // PACKET & 0xFFFF, 0, 1)
                    self.wfile.write(struct.pack(">cBH", b"$", 0, len(header) + len(part)) + header + part)
                return

    def answer(self, number: str, headers: bytes, body: bytes = b"") -> None:
        head = f"RTSP/1.0 200 OK\r\nCSeq: {number}\r\nContent-Length: {len(body)}\r\n".encode()
        self.wfile.write(head + headers + b"\r\n" + body)


@contextmanager
def camera(content: bytes) -> Iterator[str]:
    """The address of a camera that plays `content`, for the time of a `with`."""
    server = ThreadingTCPServer(("127.0.0.1", 0), type("Camera", (Handler,), {"content": content}))
    server.daemon_threads = True
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"rtsp://127.0.0.1:{server.server_address[1]}/1"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
