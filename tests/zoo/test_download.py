"""download: what a server can do wrong, against a real one on this machine."""

from __future__ import annotations

import errno
import io
import json
import shutil
import time
from collections import namedtuple
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from local_server import LocalServer, endless, file, status

from slowfast_hub.zoo import download as room
from slowfast_hub.zoo.download import AddressError, FetchError, check_url, download, forget, redirected, retry_after_s

CONTENT = bytes(range(256)) * 40  # 10,240 bytes
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """What would have been slept, in seconds."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    slept: list[float] = []
    monkeypatch.setattr(room, "sleep", slept.append)
    monkeypatch.setattr(room, "TIMEOUT_S", 5.0)
    return slept


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "a.part"


def starts(server: LocalServer) -> list[str]:
    return [seen.headers.get("Range", "all") for seen in server.seen]


def test_whole_file_takes_one_request_that_asks_for_the_bytes_themselves(server, part, pauses):
    download(server.serve("/a", file(CONTENT)), part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all"]
    assert server.seen[0].headers["Accept-Encoding"] == "identity"
    assert pauses == []


def test_connection_that_drops_at_every_tenth_costs_ten_requests_and_no_byte_twice(server, part):
    download(server.serve("/a", file(CONTENT, drop_after=1024)), part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all", *(f"bytes={tenth * 1024}-" for tenth in range(1, 10))]
    assert [seen.headers.get("If-Range") for seen in server.seen] == [None] + ['"1"'] * 9
    assert sum(seen.sent for seen in server.seen) == len(CONTENT)


def test_dropping_server_without_ranges_is_given_up_after_five_requests_in_vain(server, part, pauses):
    url = server.serve("/a", file(CONTENT, drop_after=1024, ranges=False))
    with pytest.raises(AddressError, match=r"/a: 1,024 of 10,240 bytes came; given up after 6 requests"):
        download(url, part)
    assert len(server.seen) == 6  # the first one brought something
    assert [round(pause) for pause in pauses] == [pytest.approx(2**n * 0.75, rel=0.4) for n in range(5)]


def test_server_that_never_gets_anywhere_is_given_up_after_a_hundred_requests(server, part, monkeypatch):
    monkeypatch.setattr(room, "REQUESTS", 20)
    url = server.serve("/a", file(b"0" * 1000, drop_after=1))
    with pytest.raises(AddressError, match=r"20 of 1,000 bytes came; given up after 20 requests"):
        download(url, part)
    assert len(server.seen) == 20


def test_later_process_goes_on_where_an_earlier_one_stopped(server, part):
    url = server.serve("/a", file(CONTENT, drop_after=4000), status(403))
    with pytest.raises(AddressError, match="403"):
        download(url, part)
    assert part.stat().st_size == 4000
    server.serve("/a", file(CONTENT))
    download(url, part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all", "bytes=4000-", "bytes=4000-"]


def test_whole_file_that_an_earlier_process_left_is_not_asked_for_again(server, part):
    url = server.serve("/a", file(CONTENT))
    download(url, part)
    download(url, part)
    assert len(server.seen) == 1
    forget(part)
    assert list(part.parent.iterdir()) == []


def test_part_of_another_address_is_not_gone_on_with(server, part):
    with pytest.raises(AddressError):
        download(server.serve("/a", file(b"x" * len(CONTENT), drop_after=4000), status(404)), part)
    download(server.serve("/b", file(CONTENT)), part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all", "bytes=4000-", "all"]


@pytest.mark.parametrize("note", ["", "{", "[1]", '{"url": 1}', '{"url": "u", "etag": 1, "x": 2}'])
def test_part_with_a_torn_note_is_not_gone_on_with(server, part, note: str):
    url = server.serve("/a", file(CONTENT))
    part.write_bytes(b"rubbish")
    part.with_name("a.part.json").write_text(note)
    download(url, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("honest", [True, False], ids=["If-Range honoured", "If-Range ignored"])
def test_file_that_changes_between_two_requests_is_fetched_anew(server, part, honest: bool):
    def changed(handler, seen):
        if not honest:
            seen.headers.pop("If-Range", None)
        file(CONTENT, etag='"2"')(handler, seen)

    download(server.serve("/a", file(b"x" * len(CONTENT), drop_after=5000), changed), part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == (["all", "bytes=5000-"] if honest else ["all", "bytes=5000-", "all"])


def test_weak_etag_is_no_validator_but_the_date_is(server, part):
    date = "Wed, 21 Oct 2015 07:28:00 GMT"
    download(server.serve("/a", file(CONTENT, drop_after=6000, etag='W/"1"', modified=date)), part)
    assert server.seen[1].headers["If-Range"] == date
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize(
    "said",
    ["bytes 4999-10239/10240", "bytes 5000-10239/9999", "bytes */10240", "items 1-2/3", f"bytes {'9' * 5000}-1/2"],
)
def test_answer_that_goes_on_at_another_place_is_thrown_away(server, part, said: str):
    url = server.serve("/a", file(CONTENT, drop_after=5000), file(CONTENT, Content_Range=said), file(CONTENT))
    download(url, part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all", "bytes=5000-", "all"]


def test_206_to_a_request_for_everything_is_not_believed(server, part):
    url = server.serve("/a", status(206, Content_Range="bytes 0-9/10"))
    with pytest.raises(AddressError, match="another place; given up"):
        download(url, part)


def test_200_to_a_range_starts_anew(server, part):
    download(server.serve("/a", file(CONTENT, drop_after=5000), file(CONTENT, ranges=False)), part)
    assert part.read_bytes() == CONTENT
    assert len(server.seen) == 2


def test_416_starts_anew(server, part):
    download(server.serve("/a", file(CONTENT, drop_after=5000), status(416), file(CONTENT)), part)
    assert part.read_bytes() == CONTENT
    assert starts(server) == ["all", "bytes=5000-", "all"]


def test_length_that_promises_too_much_is_an_error_with_both_numbers(server, part):
    url = server.serve("/a", file(CONTENT, length=20_000, ranges=False))
    with pytest.raises(AddressError, match=r"10,240 of 20,000 bytes came"):
        download(url, part)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (401, "401, it asks for a login"),
        (403, "403, it refuses"),
        (404, "404, there is no such file"),
        (410, "410, the file was taken down"),
        (451, "451 Unavailable For Legal Reasons"),
        (501, "501 Not Implemented"),
        (204, "204 No Content and no file"),
        (300, "300 Multiple Choices"),
    ],
)
def test_refusal_is_named_and_asked_once(server, part, pauses, code: int, words: str):
    url = server.serve("/a", status(code))
    with pytest.raises(AddressError, match=words):
        download(url, part)
    assert (len(server.seen), pauses) == (1, [])
    assert list(part.parent.iterdir()) == []


@pytest.mark.parametrize("code", [408, 425, 429, 500, 502, 503, 504])
def test_busy_server_is_asked_again(server, part, code: int):
    download(server.serve("/a", status(code), status(code), file(CONTENT)), part)
    assert len(server.seen) == 3


def test_retry_after_is_obeyed_in_seconds_and_as_a_date_up_to_a_minute(server, part, pauses):
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
    turns = [status(429, Retry_After=text) for text in ("7", date, "86400", "soon")]
    download(server.serve("/a", *turns, file(CONTENT)), part)
    assert pauses == [7, pytest.approx(29.5, abs=1.5), 60, pytest.approx(12, abs=4)]


@pytest.mark.parametrize(
    "text", [None, "", "soon", "-5", "Wed, 21 Oct 2015 07:28:00 GMT", "21 Oct 2015 07:28:00 -0000"]
)
def test_retry_after_that_says_nothing_is_no_pause_of_its_own(text):
    assert retry_after_s(text) == 0


def test_server_that_stays_busy_is_given_up_after_five_requests(server, part):
    with pytest.raises(AddressError, match=r"it answers 503 Service Unavailable; given up after 5 requests"):
        download(server.serve("/a", status(503)), part)
    assert len(server.seen) == 5


def test_slow_drip_is_no_progress(server, part, monkeypatch):
    monkeypatch.setattr(room, "SLOW_S", 0.1)
    url = server.serve("/a", file(CONTENT, pause_s=0.03, piece=10))  # about 300 bytes a second
    began = time.monotonic()
    with pytest.raises(AddressError, match=r"/a: \d{2,3} bytes a second came; given up after 5 requests"):
        download(url, part)
    assert time.monotonic() - began < 2
    assert len(server.seen) == 5
    assert 100 < part.stat().st_size < 500  # kept all the same


def test_silence_is_a_broken_connection(server, part, monkeypatch):
    monkeypatch.setattr(room, "TIMEOUT_S", 0.1)
    monkeypatch.setattr(room, "TRIES", 2)
    with pytest.raises(AddressError, match=r"broke \(timed out\); given up after 2 requests"):
        download(server.serve("/a", file(CONTENT, pause_s=0.3)), part)


def test_server_that_is_not_there_is_given_up(part, pauses):
    with pytest.raises(AddressError, match=r"cannot be reached .*refused.*; given up after 5 requests"):
        download("http://127.0.0.1:9/a", part)
    assert len(pauses) == 4


@pytest.mark.parametrize(
    "answer",
    [
        file(b"<p>Log in", Content_Type="text/html; charset=utf-8"),
        file(b"\n <!DOCTYPE html><p>Log in", Content_Type="application/octet-stream"),
        file(b"\xef\xbb\xbf<HTML><p>Log in"),
    ],
)
def test_web_page_is_named_as_one_and_not_kept(server, part, answer):
    with pytest.raises(AddressError, match="it sent a web page, not a file of weights"):
        download(server.serve("/a", answer), part)
    assert list(part.parent.iterdir()) == []


def test_compressed_transfer_is_refused(server, part):
    with pytest.raises(AddressError, match=r"sent as 'gzip' though asked for the bytes"):
        download(server.serve("/a", file(b"\x1f\x8b123", Content_Encoding="gzip")), part)
    assert len(server.seen) == 1


def test_file_over_the_limit_is_refused_by_its_length(server, part, monkeypatch):
    monkeypatch.setattr(room, "MAX_BYTES", 10_000)
    with pytest.raises(AddressError, match=r"10,240 bytes; such a file has up to 10,000"):
        download(server.serve("/a", file(CONTENT)), part)
    assert list(part.parent.iterdir()) == []


def test_body_without_length_and_end_stops_at_the_limit(server, part, monkeypatch):
    monkeypatch.setattr(room, "MAX_BYTES", 100_000)
    monkeypatch.setattr(room, "CHUNK_BYTES", 4096)
    with pytest.raises(AddressError, match=r"more than 100,000 bytes came, and no end"):
        download(server.serve("/a", endless), part)
    assert part.stat().st_size <= 100_000
    assert len(server.seen) == 1


def test_body_without_length_ends_with_the_connection(server, part):
    def behave(handler, seen):
        handler.start(seen, 200, {})
        handler.send(seen, CONTENT)

    download(server.serve("/a", behave), part)
    assert part.read_bytes() == CONTENT


def test_file_larger_than_the_free_disk_is_refused_before_it_comes(server, part, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: namedtuple("Usage", "free")(10_239))
    with pytest.raises(FetchError, match=r"10,239 bytes are free and .* needs 10,240; .*SLOWFAST_HUB_CACHE") as raised:
        download(server.serve("/a", file(CONTENT)), part)
    assert not isinstance(raised.value, AddressError)  # another address would not help
    assert not part.exists()


def test_disk_that_fills_up_keeps_the_part_and_the_errors_name(server, part, monkeypatch):
    class Full(io.FileIO):
        def write(self, chunk):
            raise OSError(errno.ENOSPC, "No space left on device")

    url = server.serve("/a", file(CONTENT))
    with monkeypatch.context() as patched:
        patched.setattr(room, "open", lambda path, mode: Full(path, mode), raising=False)
        with pytest.raises(OSError, match="No space left") as raised:
            download(url, part)
    assert not isinstance(raised.value, FetchError)  # the caller knows the folder to name
    assert len(server.seen) == 1
    download(url, part)
    assert part.read_bytes() == CONTENT


@pytest.mark.parametrize("torn", [True, False])
def test_body_in_chunks_is_whole_with_its_last_chunk_only(server, part, torn: bool):
    def behave(handler, seen):
        handler.start(seen, 200, {"Transfer-Encoding": "chunked"})
        handler.send(seen, b"2800\r\n" + CONTENT + b"\r\n" + (b"" if torn else b"0\r\n\r\n"))

    url = server.serve("/a", behave)
    if torn:
        with pytest.raises(AddressError, match=r"the connection broke \(IncompleteRead.*; given up after 6 requests"):
            download(url, part)
    else:
        download(url, part)
        assert part.read_bytes() == CONTENT


def test_five_redirects_are_followed_and_six_are_not(server, part):
    for step in range(6):
        server.serve(f"/{step}", status((301, 302, 303, 307, 308)[step % 5], Location=f"/{step + 1}"))
    server.serve("/6", file(CONTENT))
    download(server.url + "/1", part)
    assert part.read_bytes() == CONTENT
    assert [seen.path for seen in server.seen] == ["/1", "/2", "/3", "/4", "/5", "/6"]
    forget(part)
    with pytest.raises(AddressError, match=r"/0: more than 5 redirects"):
        download(server.url + "/0", part)


def test_redirect_loop_ends(server, part):
    with pytest.raises(AddressError, match=r"/a: more than 5 redirects, the last to .*/a"):
        download(server.serve("/a", status(302, Location="/a")), part)
    assert len(server.seen) == 6


@pytest.mark.parametrize(
    "target",
    ["file:///etc/passwd", "ftp://a/b", "data:,x", "gopher://a/", "http:///x", "http://[/", "http://a b/", "http://é/"],
)
def test_redirect_to_anything_but_the_web_is_refused(server, part, target: str):
    with pytest.raises(AddressError, match=r"is not an address"):
        download(server.serve("/a", status(302, Location=target)), part)
    assert list(part.parent.iterdir()) == []


def test_redirect_never_leaves_https():
    assert redirected("https://a/x", "https://b/y") == "https://b/y"
    assert redirected("https://a/x/y", "../z") == "https://a/z"
    assert redirected("http://a/x", "https://b/y") == "https://b/y"
    for target in ("http://a/x", "file:///x", "ftp://a/x"):
        with pytest.raises(AddressError, match=f"redirects from https to '{target}'; refused"):
            redirected("https://a/x", target)


def test_redirect_to_a_host_that_cannot_be_one_is_given_up(server, part):
    with pytest.raises(AddressError, match="cannot be reached"):
        download(server.serve("/a", status(302, Location=f"http://{'a' * 70}.example/")), part)


@pytest.mark.parametrize("url", ["file:///a", "/a", "a", "", "ftp://a/b", "http://", "https://a/\nb", "https://a/ b"])
def test_address_that_is_not_of_the_web_is_refused(url: str):
    with pytest.raises(AddressError, match="only http and https"):
        check_url(url)


def test_password_in_an_address_is_refused_and_not_repeated():
    with pytest.raises(AddressError, match=r"^https://\.\.\.@a: an address with a user or password; refused$"):
        check_url("https://me:secret@a/b")


def test_proxy_of_the_environment_is_used(server, part, monkeypatch):
    server.serve("http://weights.example/a", file(CONTENT))  # a proxy is asked for the whole address
    monkeypatch.setenv("http_proxy", server.url)
    download("http://weights.example/a", part)
    assert part.read_bytes() == CONTENT


def test_note_says_what_the_server_said(server, part):
    url = server.serve("/a", file(CONTENT, modified="Wed, 21 Oct 2015 07:28:00 GMT"))
    download(url, part)
    note = json.loads(part.with_name("a.part.json").read_text())
    assert note == {"url": url, "etag": '"1"', "modified": "Wed, 21 Oct 2015 07:28:00 GMT", "total": 10_240}


@pytest.mark.parametrize("terminal", [True, False])
def test_bar_appears_on_a_terminal_only(server, part, monkeypatch, terminal: bool):
    class Stream(io.StringIO):
        def isatty(self) -> bool:
            return terminal

    stream = Stream()
    monkeypatch.setattr("sys.stderr", stream)
    download(server.serve("/a", file(CONTENT, pause_s=0.07, piece=1024)), part)
    assert ("a: 100%" in stream.getvalue()) == terminal
    assert bool(stream.getvalue()) == terminal


def test_pauses_leave_the_random_numbers_of_the_user_alone(server, part):
    import random

    random.seed(1)
    expected = random.Random(1).random()
    download(server.serve("/a", status(503), file(CONTENT)), part)
    assert random.random() == expected
