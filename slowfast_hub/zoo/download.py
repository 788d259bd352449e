"""One file over HTTP: whole, or an error that says why not. An interrupted file is resumed, and nothing is unbounded.

A part has a note beside it of what the server said of its file (address, version, size): a later process goes on where
this one stopped, and only while the server still has that very file. Resuming follows RFC 9110, sections 13 and 14.
"""

from __future__ import annotations

import json
import logging
import os
import random
import re
import shutil
import socket
import ssl
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.error import HTTPError
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
)

MAX_BYTES = 2 * 2**30  # of one file; the largest published one has 0.5 GB
TRIES = 5  # requests in a row that bring nothing
REQUESTS = 100  # for one file, however much each of them brings
REDIRECTS = 5
TIMEOUT_S = 30.0  # to connect, and between two pieces
SLOW_S = 30.0  # over which the average rate is taken ...
SLOW_BYTES_S = 1000.0  # ... that counts as no progress when it is lower
PAUSE_S = 1.0  # before the second try; doubled by every further one in vain
MAX_PAUSE_S = 60.0  # also where the server asks for more
CHUNK_BYTES = 2**20
TRUE = ("1", "ON", "YES", "TRUE")  # as huggingface_hub reads its variables
JITTER = random.Random()  # its own: a user's seeded numbers stay as they are

REDIRECTED = (301, 302, 303, 307, 308)
BUSY = (408, 425, 429, 500, 502, 503, 504)
REFUSED = {
    401: "401, it asks for a login",
    403: "403, it refuses: not public any more, or not for this network",
    404: "404, there is no such file",
    410: "410, the file was taken down",
}
WEB_PAGE = "it sent a web page, not a file of weights: the file has moved, or a portal of this network answered"

log = logging.getLogger("slowfast_hub")


class FetchError(OSError):
    """Weights that cannot be had: says what came, what was expected and what to do."""


class AddressError(FetchError):
    """This address does not give the file; another one may."""


class Again(Exception):
    """A further request may help: after `wait_s` if the server said so, from the first byte if `afresh`."""

    def __init__(self, reason: str, *, wait_s: float = 0.0, afresh: bool = False, stalled: bool = False) -> None:
        super().__init__(reason)
        self.wait_s = wait_s
        self.afresh = afresh
        self.stalled = stalled  # the few bytes that came are not progress


@dataclass(frozen=True)
class Note:
    """What the server said of the file that a part belongs to."""

    url: str
    etag: str | None
    modified: str | None  # Last-Modified
    total: int | None  # bytes

    def same_file(self, other: Note) -> bool:
        """Whether nothing that both of them know is different."""
        pairs = ((self.etag, other.etag), (self.modified, other.modified), (self.total, other.total))
        return all(mine == theirs or None in (mine, theirs) for mine, theirs in pairs)


def download(url: str, path: Path, *, limit: int | None = None) -> None:
    """Bring the file at `url` to `path`, going on with what an earlier call left there; `forget` removes both.

    limit: bytes it may have; by default those of weights.

    AddressError when it cannot be had from there, FetchError when there is no room for it. The content is the caller's
    to check: HTTP says how long a file is, not that it is the right one.
    """
    check_url(url)
    vain = 0
    for count in range(1, REQUESTS + 1):
        before = size_of(path)
        try:
            request_rest(url, path, limit or MAX_BYTES)
            refuse_web_page(url, path)
            return
        except Again as again:
            vain = 0 if size_of(path) > before and not again.stalled else vain + 1
            if again.afresh:
                forget(path)
            if vain == TRIES or count == REQUESTS:
                raise AddressError(f"{url}: {again}; given up after {count} requests, try again later") from again
            pause_s = min(MAX_PAUSE_S, again.wait_s or PAUSE_S * 2**vain * JITTER.uniform(0.5, 1.0))
            log.warning("%s: %s; trying again in %.0f s", url, again, pause_s)
            sleep(pause_s)


def request_rest(url: str, path: Path, limit: int) -> None:
    """One request for what is missing of the file; Again where a further one may help."""
    note = read_note(url, path)
    have = size_of(path) if note else 0
    if note and have and have == note.total:
        return
    with opened(url, range_headers(note, have)) as answer:
        said = Note(url, answer.headers["ETag"], answer.headers["Last-Modified"], total_bytes(answer))
        check_answer(answer, url)
        if answer.status == 200:  # also to a Range: the server cannot go on, or has another file now
            have = 0
        elif not (note and note.same_file(said) and content_range(answer)[:1] == (have,)):
            raise Again("it went on with another file or at another place", afresh=True)
        elif said.total is None:
            said = note
        check_room(said, have, path, limit)
        if have == 0:
            path.unlink(missing_ok=True)  # first: a part never lies beside the note of another file
            path.with_name(path.name + ".json").write_text(json.dumps(asdict(said)), encoding="utf-8")
        append(answer, path, have, said, limit)


def range_headers(note: Note | None, have: int) -> dict[str, str]:
    headers = {"User-Agent": "slowfast-hub", "Accept-Encoding": "identity"}
    if note and have:
        headers["Range"] = f"bytes={have}-"
        weak = note.etag is None or note.etag.startswith("W/")  # RFC 9110, 13.1.5: not fit for If-Range
        version = note.modified if weak else note.etag
        if version:
            headers["If-Range"] = version
    return headers


def opened(url: str, headers: dict[str, str]) -> HTTPResponse:
    """The 2xx answer to a GET. Redirects are followed here: the opener knows neither them nor file:, ftp: or data:."""
    opener = OpenerDirector()
    for handler in (ProxyHandler, HTTPHandler, HTTPSHandler, HTTPDefaultErrorHandler, HTTPErrorProcessor):
        opener.add_handler(handler())
    place = url
    for _ in range(REDIRECTS + 1):
        try:
            return opener.open(Request(place, headers=headers), timeout=TIMEOUT_S)
        except HTTPError as answer:
            with answer:
                if answer.code not in REDIRECTED:
                    raise refusal(url, answer) from answer
                place = redirected(place, answer.headers["Location"] or "")
        except (OSError, HTTPException, UnicodeError) as error:  # UnicodeError: no name of a host
            reason = getattr(error, "reason", error)
            if isinstance(reason, ssl.SSLCertVerificationError):
                raise AddressError(f"{url}: its certificate is not trusted here ({error})") from error
            if isinstance(reason, socket.gaierror) and reason.errno == socket.EAI_NONAME:
                raise AddressError(f"{url}: no such host, or no internet here ({reason.strerror})") from error
            raise Again(f"it cannot be reached ({error or type(error).__name__})") from error
    raise AddressError(f"{url}: more than {REDIRECTS} redirects, the last to {place}")


def redirected(place: str, location: str) -> str:
    """Where a redirect leads; never from https to anything else."""
    target = location if split(location).scheme else urljoin(place, location)
    if split(place).scheme == "https" != split(target).scheme:
        raise AddressError(f"{place}: redirects from https to {target!r}; refused")
    check_url(target)
    return target


def check_url(url: str) -> None:
    """http or https, a host, and no password that would end up in messages and receipts."""
    parts = split(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or not re.fullmatch(r"[!-~]+", url):
        raise AddressError(f"{url!r} is not an address of a file on the web: only http and https are followed")
    if parts.username is not None or parts.password is not None:
        raise AddressError(f"{parts.scheme}://...@{parts.hostname}: an address with a user or password; refused")


def split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError as error:  # such as a "[" without its "]"
        raise AddressError(f"{url!r} is not an address: {error}") from error


def refusal(url: str, answer: HTTPError) -> Exception:
    """What a status other than 2xx means."""
    if answer.code == 416:
        return Again("it has no bytes beyond those of the interrupted download", afresh=True)
    if answer.code in BUSY:
        return Again(f"it answers {answer.code} {answer.reason}", wait_s=retry_after_s(answer.headers["Retry-After"]))
    return AddressError(f"{url}: {REFUSED.get(answer.code, f'{answer.code} {answer.reason}')}")


def retry_after_s(text: str | None) -> float:
    """Seconds of a Retry-After header, which is a number of them or a date; 0 when it is neither."""
    if text is None or text.strip().isdecimal():
        return float(text or 0)
    try:
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):  # TypeError: a date without a zone
        return 0.0


def content_range(answer: HTTPResponse) -> tuple[int, ...]:
    """First byte and total of a 206, or the first byte alone where the total is `*`; () when it does not say."""
    match = re.fullmatch(r"bytes (\d{1,18})-\d+/(\d{1,18}|\*)", answer.headers["Content-Range"] or "")
    return tuple(int(number) for number in match.groups() if number != "*") if match else ()


def total_bytes(answer: HTTPResponse) -> int | None:
    if answer.status == 206:
        return (*content_range(answer), None, None)[1]
    return answer.length  # None: sent in chunks, or until the connection ends


def check_answer(answer: HTTPResponse, url: str) -> None:
    if answer.status not in (200, 206):
        raise AddressError(f"{url}: it answers {answer.status} {answer.reason} and no file")
    if (answer.headers["Content-Encoding"] or "identity") != "identity":
        encoding = answer.headers["Content-Encoding"]
        raise AddressError(f"{url}: sent as {encoding!r} though asked for the bytes of the file themselves")
    if answer.headers.get_content_type() == "text/html":
        raise AddressError(f"{url}: {WEB_PAGE}")


def check_room(said: Note, have: int, path: Path, limit: int) -> None:
    if said.total is None:
        return
    if said.total > limit:
        raise AddressError(f"{said.url}: {said.total:,} bytes; such a file has up to {limit:,}")
    free = shutil.disk_usage(path.parent).free
    if free < said.total - have:
        raise FetchError(
            f"{path.parent}: {free:,} bytes are free and {said.url} needs {said.total - have:,}; "
            "make room, or set SLOWFAST_HUB_CACHE to another folder"
        )


def append(answer: HTTPResponse, path: Path, have: int, said: Note, limit: int) -> None:
    """Write what comes behind the `have` bytes of the part."""
    with open(path, "ab") as file, progress(path, have, said.total) as bar:
        for chunk in chunks(answer):
            have += len(chunk)
            if have > limit:
                file.truncate(0)
                raise AddressError(f"{said.url}: more than {limit:,} bytes came, and no end")
            file.write(chunk)
            bar.update(len(chunk))
    if said.total not in (None, have):
        raise Again(f"{have:,} of {said.total:,} bytes came", afresh=have > (said.total or 0))


def chunks(answer: HTTPResponse) -> Iterator[bytes]:
    """What comes, piece by piece; Again when the connection breaks or only drips."""
    since, count = monotonic(), 0
    while True:
        try:
            chunk = answer.read1(CHUNK_BYTES)  # one read of the socket: never waits for a whole CHUNK_BYTES
        except (OSError, HTTPException) as error:
            raise Again(f"the connection broke ({error or type(error).__name__})") from error
        if not chunk:
            return
        yield chunk
        count += len(chunk)
        passed_s = monotonic() - since
        if passed_s > SLOW_S:
            if count < SLOW_BYTES_S * passed_s:
                raise Again(f"{count / passed_s:.0f} bytes a second came", stalled=True)
            since, count = monotonic(), 0


def progress(path: Path, have: int, total: int | None) -> AbstractContextManager[Any]:
    """A bar on stderr where that is a terminal; HF_HUB_DISABLE_PROGRESS_BARS switches it off."""
    from torch.hub import tqdm  # tqdm, or torch's stand-in where there is none

    hidden = not sys.stderr.isatty() or os.environ.get("HF_HUB_DISABLE_PROGRESS_BARS", "").upper() in TRUE
    return tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=path.stem, disable=hidden, delay=0.5)


def refuse_web_page(url: str, path: Path) -> None:
    """Some servers send their error pages as if they were the file."""
    with open(path, "rb") as file:
        start = file.read(512).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if start.startswith((b"<!doctype html", b"<html")):
        forget(path)
        raise AddressError(f"{url}: {WEB_PAGE}")


def read_note(url: str, path: Path) -> Note | None:
    """The note beside a part; None when there is none, or it is of another address or torn."""
    try:
        note = Note(**json.loads(path.with_name(path.name + ".json").read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError, TypeError):
        return None
    return note if note.url == url else None


def forget(path: Path) -> None:
    """Remove a download, whole or not, and its note."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + ".json").unlink(missing_ok=True)


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
