"""fetch: the five doors and the cache behind them, with a real server and a stand-in for the converters."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hub_server import Hub, running_hub
from local_server import file, status
from made_files import made_of
from safetensors.torch import save_file
from torch import ones

from slowfast_hub.spec import ClipSpec, Hosted, Origin, WeightsInfo
from slowfast_hub.zoo import convert, fetch
from slowfast_hub.zoo import download as room
from slowfast_hub.zoo.cache import Entry, cache_dir
from slowfast_hub.zoo.describe import Description, to_header
from slowfast_hub.zoo.download import FetchError
from slowfast_hub.zoo.fetch import Verification, cached, download, mirror, verify, weights_path
from slowfast_hub.zoo.registry import ARCHS

NAME = "slow_r50_8x8.test"
ORIGINAL = b"original " * 100
MADE = made_of(ORIGINAL)
REPOSITORY = Path(__file__).parents[2]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def record(
    url: str | None = None, *, name: str = NAME, hosted: dict[str, Any] | None = None, **origin: Any
) -> WeightsInfo:
    return WeightsInfo(
        name=name,
        arch="slow_r50_8x8",
        changes={},
        num_classes=2,
        labels=("a", "b"),
        activation="softmax",
        clip=ClipSpec(),
        hosted=Hosted(**({"file": f"{name}.safetensors"} | (hosted or {}))),
        origin=Origin(source="a test", license="MIT", url=url, **origin),
    )


@pytest.fixture(autouse=True)
def cache(empty_cache: Path) -> Path:
    return empty_cache


@pytest.fixture(autouse=True)
def origins(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """What the stand-in for the converters was told of each file it converted."""
    told: list[dict[str, str]] = []

    def convert_file(source: Path, target: Path, *, weights: WeightsInfo, origin: dict[str, str]) -> None:
        content = source.read_bytes()
        if content.startswith(b"bad"):
            raise convert.ConvertError(f"{source}: no checkpoint")
        told.append(origin)
        target.write_bytes(made_of(content))

    monkeypatch.setattr(convert, "convert_file", convert_file)
    return told


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*arguments: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket.socket, "connect", refused)
    monkeypatch.setattr(socket, "getaddrinfo", refused)


def receipt_in(folder: Path) -> dict[str, Any]:
    return json.loads((folder / f"{NAME}.json").read_text())


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


ENTRY = [f"{NAME}.json", f"{NAME}.safetensors"]


# ---- the doors, in their order


def test_embedded_network_needs_neither_network_nor_cache(cache, no_network):
    from slowfast_hub import create_model

    model = create_model("slowfast_r14_4x16_w16.hub_actions16", pretrained=True)
    assert model.num_classes == len(model.labels) == 16
    assert not cache.exists()


def test_origin_is_downloaded_once_converted_and_the_download_deleted(server, cache, origins):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    assert not cached(info)
    path = weights_path(info)
    assert path == weights_path(info) == cache / f"{NAME}.safetensors"
    assert path.read_bytes() == MADE
    assert len(server.seen) == 1
    assert names_in(cache) == ENTRY
    assert origins == [{"url": info.origin.url, "sha256": sha256(ORIGINAL), "license": "MIT"}]
    assert cached(info)


def test_receipt_says_what_came_from_where_and_when(server, cache):
    url = server.serve("/a.pth", file(ORIGINAL))
    weights_path(record(url))
    receipt = receipt_in(cache)
    assert len(receipt.pop("first_seen")) == len("2026-01-31")
    assert receipt.pop("version")
    assert receipt == {
        "sha256": sha256(MADE),
        "bytes": len(MADE),
        "source": url,
        "origin_sha256": sha256(ORIGINAL),
        "origin_bytes": 900,
        "replaces": None,
    }
    download(record(url), force=True)
    assert receipt_in(cache)["replaces"] is None  # only for as long as the exchange takes


def test_missing_file_goes_on_to_the_alternatives_in_turn(server, cache):
    first, second = server.url + "/gone", server.serve("/forbidden", status(403))
    third = server.serve("/bad", file(b"bad" * 10))
    fourth = server.serve("/a.pth", file(ORIGINAL))
    weights_path(record(first, alternatives=(second, third, fourth)))
    assert [seen.path for seen in server.seen] == ["/gone", "/forbidden", "/bad", "/a.pth"]
    assert receipt_in(cache)["source"] == fourth


def test_error_names_every_address_and_its_reason(server, cache):
    info = record(server.url + "/gone", alternatives=(server.serve("/bad", file(b"bad")),))
    with pytest.raises(FetchError, match=rf"{NAME} cannot be had: .*/gone: 404.*; .*/bad: .*no checkpoint"):
        weights_path(info)
    assert names_in(cache) == []


def test_record_without_any_address_is_a_lookup_error(no_network):
    with pytest.raises(LookupError, match=rf"{NAME}: nowhere.safetensors is missing from the package"):
        weights_path(record(hosted={"file": "nowhere.safetensors"}))


def test_cache_follows_the_variable_else_torch_hub(monkeypatch, tmp_path):
    assert cache_dir() == tmp_path / "cache"
    monkeypatch.delenv("SLOWFAST_HUB_CACHE")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    assert cache_dir() == tmp_path / "torch" / "hub" / "slowfast_hub"


@pytest.mark.parametrize("name", ["../x", "a/b", ".x", "", "a\\b", "/etc/x", "a\nb", "a:b"])
def test_name_that_would_leave_the_cache_is_refused(name: str, no_network):
    with pytest.raises(ValueError, match=r"cannot be a file name|without folders"):
        weights_path(record("https://example.org/a", name=name))


@pytest.mark.parametrize(
    "file", ["../manifest.json", "../x.safetensors", "README.md", "a/b.safetensors", ".x.safetensors"]
)
def test_hosted_file_that_would_leave_its_folder_is_no_record(file: str):
    with pytest.raises(ValueError, match="the name of a safetensors file, without folders"):
        record(hosted={"file": file})


# ---- which file it is


@pytest.mark.parametrize("kind", ["sha256", "sha1", "md5"])
@pytest.mark.parametrize("digits", [8, None], ids=["prefix", "whole"])
def test_published_digest_is_checked_before_conversion(server, cache, origins, caplog, kind: str, digits: int | None):
    right = hashlib.new(kind, ORIGINAL).hexdigest()[:digits]
    good, bad = server.serve("/good", file(ORIGINAL)), server.serve("/bad", file(b"x" + ORIGINAL))
    with pytest.raises(FetchError, match=rf"the {kind} of what came is [0-9a-f]+, published is {right}\."):
        weights_path(record(bad, digest=f"{kind}:{right}"))
    assert (origins, names_in(cache)) == ([], [])
    assert weights_path(record(bad, alternatives=(good,), digest=f"{kind}:{right}")).read_bytes() == MADE
    assert "trusted on first use" not in caplog.text


def test_first_use_is_said_once_with_the_hash_it_binds(server, caplog):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    weights_path(info)
    said = [entry.getMessage() for entry in caplog.records]
    assert said == [
        f"{NAME}: no hash of {info.origin.url} is published; trusted on first use, its SHA-256 is {sha256(ORIGINAL)}"
    ]
    weights_path(info)
    download(info, force=True)
    assert len(caplog.records) == 1


def test_warnings_reach_a_user_who_has_set_up_no_logging():
    code = "import logging; logging.getLogger('slowfast_hub').warning('%s: trusted on first use', 'a')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "a: trusted on first use\n")


def test_another_file_than_at_first_use_is_refused_until_it_is_trusted_on_purpose(server, cache, caplog):
    other = b"other " + ORIGINAL
    info = record(server.serve("/a.pth", file(ORIGINAL), file(other)))
    first_seen = receipt_in(weights_path(info).parent)["first_seen"]
    (cache / f"{NAME}.safetensors").unlink()  # the receipt outlives the entry
    with pytest.raises(FetchError, match="SHA-256 of what came") as raised:
        weights_path(info)
    for part in (sha256(ORIGINAL), sha256(other), f"slowfast-hub weights download {NAME} --trust-new"):
        assert part in str(raised.value)
    assert names_in(cache) == [f"{NAME}.json"]
    assert download(info, trust_new=True).read_bytes() == made_of(other)
    assert receipt_in(cache)["origin_sha256"] == sha256(other)
    assert receipt_in(cache)["first_seen"] >= first_seen
    assert caplog.records[-1].getMessage().endswith(sha256(other))
    assert download(info, force=True).read_bytes() == made_of(other)


def test_refused_download_leaves_the_old_entry_as_it_is(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL), file(b"other")))
    weights_path(info)
    with pytest.raises(FetchError, match="--trust-new"):
        download(info, force=True)
    assert weights_path(info).read_bytes() == MADE


def test_cached_file_that_changed_is_refused_with_the_command_that_repairs_it(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    path = weights_path(info)
    path.write_bytes(MADE[:-1] + b"?")
    with pytest.raises(FetchError, match=rf"changed since .*: slowfast-hub weights download {NAME} --force") as raised:
        weights_path(info)
    assert sha256(MADE) in str(raised.value)
    assert len(server.seen) == 1
    assert download(info, force=True) == path
    assert path.read_bytes() == MADE


def test_file_replaced_while_it_is_hashed_is_no_change(server, cache, monkeypatch):
    from slowfast_hub.zoo import cache as cache_room

    info = record(server.serve("/a.pth", file(ORIGINAL), file(b"other")))
    weights_path(info)
    true_hash, done = cache_room.sha256_of, []

    def replaced_first(path: Path) -> str:
        if not done:  # another process is faster
            done.append(1)
            download(info, trust_new=True)
        return true_hash(path)

    monkeypatch.setattr(cache_room, "sha256_of", replaced_first)
    assert weights_path(info).read_bytes() == made_of(b"other")


def test_receipt_that_is_none_is_named(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    weights_path(info)
    (cache / f"{NAME}.json").write_text("{}")
    with pytest.raises(FetchError, match=rf"{NAME}.json is no receipt any more .*; delete it, then: .* --force"):
        weights_path(info)


def test_verify_tells_ok_changed_missing_and_unrecorded_apart(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    assert verify(info) == Verification(NAME, "missing", None)
    path = weights_path(info)
    assert verify(info) == Verification(NAME, "ok", path, sha256(MADE), sha256(MADE))
    path.write_bytes(b"x")
    assert verify(info) == Verification(NAME, "changed", path, sha256(b"x"), sha256(MADE))
    (cache / f"{NAME}.json").unlink()
    assert verify(info) == Verification(NAME, "unrecorded", path, sha256(b"x"), None)


# ---- interrupted, at once, not allowed


def test_interrupted_download_is_gone_on_with(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL, drop_after=500), status(404), file(ORIGINAL)))
    with pytest.raises(FetchError, match="404"):
        weights_path(info)
    assert names_in(cache) == [f"{NAME}.part", f"{NAME}.part.json"]
    assert weights_path(info).read_bytes() == MADE
    assert [seen.headers.get("Range") for seen in server.seen] == [None, "bytes=500-", "bytes=500-"]
    assert sum(seen.sent for seen in server.seen) == len(ORIGINAL)


def test_conversion_that_was_killed_is_done_again_without_the_network(server, cache, monkeypatch):
    info = record(server.serve("/a.pth", file(ORIGINAL), status(404)))

    class Killed(BaseException):
        pass

    def killed(source, target, **told):
        target.write_bytes(b"half")
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(convert, "convert_file", killed)
        with pytest.raises(Killed):
            weights_path(info)
    assert weights_path(info).read_bytes() == MADE
    assert len(server.seen) == 1


def test_what_a_killed_conversion_left_is_gone_before_the_next_one(server, cache, monkeypatch):
    left = cache / f"{NAME}.tmp" / ".made.123"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"half")
    found: list[bool] = []

    def convert_file(source, target, **told):
        found.append(left.exists())
        target.write_bytes(MADE)

    monkeypatch.setattr(convert, "convert_file", convert_file)
    weights_path(record(server.serve("/a.pth", file(ORIGINAL))))
    assert found == [False]
    assert names_in(cache) == ENTRY


def test_four_threads_that_ask_at_once_download_once(server, caplog):
    info = record(server.serve("/a.pth", file(ORIGINAL, pause_s=0.3)))
    found: list[Path] = []
    threads = [Thread(target=lambda: found.append(weights_path(info))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found) == 4
    assert len(server.seen) == 1
    assert sum("waiting for another process" in entry.getMessage() for entry in caplog.records) == 3


def test_folder_that_cannot_be_made_is_named_with_the_variable(server, cache, monkeypatch):
    cache.write_bytes(b"a file where the folder should be")
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    with pytest.raises(FetchError, match=rf"^{cache}: .*SLOWFAST_HUB_CACHE sets another"):
        weights_path(info)
    assert server.seen == []


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write everywhere")
def test_read_only_cache_serves_what_it_has_and_names_itself_for_what_it_lacks(server, cache):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    weights_path(info)
    cache.chmod(0o500)
    try:
        assert weights_path(info).read_bytes() == MADE
        with pytest.raises(FetchError, match=rf"^{cache}: .*denied.*SLOWFAST_HUB_CACHE sets another"):
            weights_path(replace(info, name="slow_r50_8x8.other"))
    finally:
        cache.chmod(0o700)


def test_complete_entry_is_used_without_writing_anything(server, cache, monkeypatch):
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    weights_path(info)

    def refused(*arguments: object, **more: object) -> None:
        raise PermissionError(errno.EROFS, "Read-only file system")

    for name in ("replace", "mkdir", "unlink", "rmdir", "fsync"):
        monkeypatch.setattr(os, name, refused)
    monkeypatch.setattr("filelock.FileLock.acquire", refused)
    assert weights_path(info).read_bytes() == MADE
    with pytest.raises(FetchError, match=r"Read-only file system.*SLOWFAST_HUB_CACHE"):
        download(info, force=True)


@pytest.mark.parametrize("step", ["download", "conversion", "safetensors", "rename"])
def test_disk_that_fills_up_at_any_step_is_named_and_tried_again(server, cache, monkeypatch, step: str):
    import safetensors

    info = record(server.serve("/a.pth", file(ORIGINAL)))
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*arguments: object, **more: object) -> None:
        raise safetensors.SafetensorError(str(full)) if step == "safetensors" else full

    place = {"download": (room, "append"), "rename": (os, "replace")}.get(step, (convert, "convert_file"))
    with monkeypatch.context() as patched:
        patched.setattr(*place, fails)
        with pytest.raises(FetchError, match=rf"^{cache}: .*No space left.*SLOWFAST_HUB_CACHE sets another"):
            weights_path(info)
    assert not cached(info)
    assert weights_path(info).read_bytes() == MADE
    assert names_in(cache) == ENTRY


# ---- mirrors and machines without a network


@pytest.fixture
def filled(server, tmp_path, cache) -> tuple[Path, WeightsInfo]:
    """A mirror with one file, and its record; the cache is empty again."""
    info = record(server.serve("/a.pth", file(ORIGINAL)))
    mirror(tmp_path / "mirror", [info])
    shutil.rmtree(cache)
    server.seen.clear()
    return tmp_path / "mirror", info


def test_mirror_holds_the_files_and_their_index(filled):
    folder, _ = filled
    assert names_in(folder) == ["mirror.json", f"{NAME}.safetensors"]
    assert json.loads((folder / "mirror.json").read_text()) == {NAME: {"sha256": sha256(MADE), "bytes": len(MADE)}}


def test_mirror_is_filled_bit_by_bit(filled, server):
    folder, info = filled
    mirror(folder, [replace(info, name="slow_r50_8x8.other"), info])
    assert list(json.loads((folder / "mirror.json").read_text())) == ["slow_r50_8x8.other", NAME]


@pytest.mark.parametrize("index", ["{", "[1]"])
def test_folder_with_another_index_is_not_overwritten(filled, index: str):
    folder, info = filled
    (folder / "mirror.json").write_text(index)
    with pytest.raises(FetchError, match=r"mirror.json is no index of a mirror .*; delete it, and fill"):
        mirror(folder, [info])
    assert (folder / "mirror.json").read_text() == index


def test_mirror_that_cannot_be_written_is_named_and_not_the_cache(filled):
    folder, info = filled
    with pytest.raises(FetchError, match=rf"^{folder}/mirror.json: .*: choose another$"):
        mirror(folder / "mirror.json", [info])


def test_file_converted_before_it_was_published_does_not_get_into_a_mirror(filled, tmp_path):
    _, info = filled
    published = replace(info, hosted=replace(info.hosted, sha256="0" * 64))
    with pytest.raises(FetchError, match=f"is {sha256(MADE)}, expected is {'0' * 64}"):
        mirror(tmp_path / "other", [published])
    assert names_in(tmp_path / "other") == []


@pytest.mark.parametrize("kind", ["folder", "file address", "web address"])
def test_mirror_serves_before_the_origin_is_asked(filled, server, cache, monkeypatch, kind: str):
    folder, info = filled
    for path in folder.iterdir():
        server.serve(f"/m/{path.name}", file(path.read_bytes()))
    place = {"folder": str(folder), "file address": folder.as_uri(), "web address": f"{server.url}/m/"}[kind]
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", place)
    assert weights_path(info).read_bytes() == MADE
    assert weights_path(info).parent == cache
    expected = ["/m/mirror.json", f"/m/{NAME}.safetensors"] if kind == "web address" else []
    assert [seen.path for seen in server.seen] == expected
    assert names_in(cache) == ENTRY


@pytest.mark.parametrize("variable", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
def test_folder_mirror_and_cache_serve_without_a_network(filled, monkeypatch, no_network, variable: str):
    folder, info = filled
    monkeypatch.setenv(variable, "yes")
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    assert weights_path(info).read_bytes() == MADE
    monkeypatch.delenv("SLOWFAST_HUB_MIRROR")
    assert weights_path(info).read_bytes() == MADE


def test_mirror_that_lacks_the_name_goes_on_to_the_origin(filled, server, monkeypatch):
    folder, info = filled
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    weights_path(replace(info, name="slow_r50_8x8.other"))
    assert [seen.path for seen in server.seen] == ["/a.pth"]


@pytest.mark.parametrize(
    ("index", "reason"),
    [
        (None, "No such file"),
        ("{", "Expecting property name"),
        ("[]", "'list' object has no attribute 'get'"),
        (f'{{"{NAME}": 1}}', "not subscriptable"),
        (f'{{"{NAME}": {{"bytes": 1}}}}', "'sha256'"),
        (f'{{"{NAME}": {{"sha256": "../../x", "bytes": 1}}}}', r"'../../x' is no SHA-256"),
    ],
)
def test_folder_that_is_no_mirror_is_named_and_not_passed_over(filled, server, monkeypatch, index, reason: str):
    folder, info = filled
    (folder / "mirror.json").unlink() if index is None else (folder / "mirror.json").write_text(index)
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    with pytest.raises(FetchError, match=rf"SLOWFAST_HUB_MIRROR={folder} is no mirror: mirror.json: .*{reason}"):
        weights_path(info)
    assert server.seen == []


def test_wrong_bytes_in_a_mirror_are_refused(filled, cache, monkeypatch):
    folder, info = filled
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    (folder / f"{NAME}.safetensors").write_bytes(MADE[:-1] + b"?")
    with pytest.raises(FetchError, match=rf"expected is {sha256(MADE)}. Not used; fill the mirror"):
        weights_path(info)
    (folder / f"{NAME}.safetensors").write_bytes(MADE + b"?")
    with pytest.raises(FetchError, match=r"has 979 bytes, expected are 978"):
        weights_path(info)
    (folder / f"{NAME}.safetensors").unlink()
    with pytest.raises(FetchError, match=r"is listed in .*mirror.json, but is not there"):
        weights_path(info)
    assert names_in(cache) == []


def test_index_cannot_overrule_the_manifest(filled, monkeypatch):
    folder, info = filled
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    with pytest.raises(FetchError, match=f"expected is {'0' * 64}"):
        weights_path(replace(info, hosted=Hosted(f"{NAME}.safetensors", sha256="0" * 64)))


def test_nothing_but_hash_and_size_of_the_index_is_used(filled, cache, monkeypatch, tmp_path):
    folder, info = filled
    index = json.loads((folder / "mirror.json").read_text())
    index[NAME] |= {"file": "../../secret", "url": "file:///etc/passwd", "name": "../x"}
    index["../escape"] = index[NAME]
    (folder / "mirror.json").write_text(json.dumps(index))
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    assert weights_path(info).read_bytes() == MADE
    assert names_in(cache) == ENTRY
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "mirror"]


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("ftp://a/b", "only http and https"),
        ("http://mirror.example/files", "a mirror is a folder or https; http only on this machine itself"),
        ("https://me:secret@a/b", r"^https://\.\.\.@a: an address with a user or password; refused$"),
    ],
)
def test_mirror_at_an_address_that_is_refused(no_network, monkeypatch, place: str, reason: str):
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", place)
    with pytest.raises(FetchError, match=reason):
        weights_path(record("https://example.org/a.pth"))


def test_mirror_that_changed_is_refused_until_it_is_trusted_on_purpose(filled, cache, monkeypatch, caplog):
    """Trust on first use binds mirrors too, where nobody has published a hash."""
    folder, info = filled
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    weights_path(info)
    assert "trusted on first use" in caplog.text
    other = made_of(b"other")
    (folder / f"{NAME}.safetensors").write_bytes(other)
    (folder / "mirror.json").write_text(json.dumps({NAME: {"sha256": sha256(other), "bytes": len(other)}}))
    (cache / f"{NAME}.safetensors").unlink()
    with pytest.raises(FetchError, match=rf"has the SHA-256 {sha256(other)}, the file known here has .*--trust-new"):
        weights_path(info)
    assert download(info, trust_new=True).read_bytes() == other


def test_file_of_another_name_in_a_mirror_is_refused(filled, cache, monkeypatch):
    folder, info = filled
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    content = put(cache, name="slow_r50_8x8.other").read_bytes()
    shutil.rmtree(cache)
    (folder / f"{NAME}.safetensors").write_bytes(content)
    (folder / "mirror.json").write_text(json.dumps({NAME: {"sha256": sha256(content), "bytes": len(content)}}))
    with pytest.raises(FetchError, match=r"holds slow_r50_8x8.other, not slow_r50_8x8.test"):
        weights_path(info)
    assert not (cache / f"{NAME}.safetensors").exists()


def test_mirror_keeps_what_is_known_of_the_origin(filled, server, cache, monkeypatch):
    folder, info = filled
    weights_path(info)
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(folder))
    (cache / f"{NAME}.safetensors").unlink()
    weights_path(info)
    assert receipt_in(cache)["source"] == f"{folder}/{NAME}.safetensors"
    assert receipt_in(cache)["origin_sha256"] == sha256(ORIGINAL)


def test_offline_the_error_says_which_file_to_put_where(cache, monkeypatch, no_network):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", "https://mirror.example")  # not asked
    with pytest.raises(FetchError) as raised:
        weights_path(record("https://example.org/a.pth"))
    for part in (
        NAME,
        "https://example.org/a.pth",
        f"slowfast-hub weights mirror DIR {NAME}",
        f"put DIR/{NAME}.safetensors at {cache / NAME}.safetensors",
    ):
        assert part in str(raised.value)


@pytest.mark.parametrize(
    ("value", "away"), [("1", 1), ("on", 1), ("True", 1), ("YES", 1), ("0", 0), ("", 0), ("no", 0)]
)
def test_offline_is_read_as_huggingface_hub_reads_it(monkeypatch, value: str, away: int):
    from huggingface_hub.constants import _is_true

    monkeypatch.setenv("HF_HUB_OFFLINE", value)
    assert fetch.offline() == bool(away) == _is_true(value)


def test_file_put_there_by_hand_is_taken_and_bound(cache, no_network, caplog):
    path = put(cache)
    info = record("https://example.org/a.pth")
    assert weights_path(info) == path
    assert "taken as it is; its SHA-256 is checked from now on" in caplog.text
    assert receipt_in(cache)["source"] == "put there by hand"
    path.write_bytes(path.read_bytes() + b"?")
    with pytest.raises(FetchError, match="changed since it was made"):
        weights_path(info)


def test_wrong_file_put_there_by_hand_is_refused(cache, no_network):
    put(cache, name="slow_r50_8x8.other")
    says = r"holds slow_r50_8x8.other, not slow_r50_8x8.test. Not used; delete it, or convert the original"
    with pytest.raises(FetchError, match=says):
        weights_path(record("https://example.org/a.pth"))
    put(cache)
    with pytest.raises(FetchError, match=f"expected is {'0' * 64}"):
        weights_path(record("https://example.org/a.pth", hosted={"sha256": "0" * 64}))
    (cache / f"{NAME}.safetensors").write_bytes(ORIGINAL)
    with pytest.raises(FetchError, match="not a whole safetensors file"):
        weights_path(record("https://example.org/a.pth"))
    assert names_in(cache) == [f"{NAME}.safetensors"]


def put(cache: Path, name: str = NAME) -> Path:
    cache.mkdir(exist_ok=True)
    path = Entry(cache, NAME).weights
    save_file({"a": ones(1)}, path, to_header(Description(name, ARCHS["slow_r50_8x8"])))
    return path


# ---- the Hugging Face Hub, asked by the real client


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


def test_hosted_file_comes_from_the_hub_into_its_own_cache_and_is_checked(hub, running, tmp_path):
    """One process, as huggingface_hub reads its variables once."""
    content = b"hosted " * 100
    commit = hub.add("org/zoo", {"w.safetensors": content})
    code = f"""
    import json, os
    from dataclasses import replace
    from pathlib import Path
    from slowfast_hub.spec import Hosted
    from slowfast_hub.zoo import convert, fetch
    from slowfast_hub.zoo.fetch import FetchError, download, verify, weights_path
    from test_fetch import record

    answers = {{}}
    hosted = {{"repo": "org/zoo", "file": "w.safetensors", "revision": {commit!r}}}
    good = record(hosted=hosted | {{"sha256": {sha256(content)!r}, "bytes": {len(content)}}})
    answers["before"] = verify(good).state
    path = weights_path(good)
    answers["good"] = [path.read_bytes().decode(), str(path).startswith(os.environ["HF_HOME"]), verify(good).state]
    os.environ["HF_HUB_OFFLINE"] = "1"
    answers["offline"] = weights_path(good) == path
    try:
        weights_path(record(hosted=hosted | {{"file": "y.safetensors", "revision": None}}))
    except FetchError as error:
        answers["not here"] = str(error)
    del os.environ["HF_HUB_OFFLINE"]
    for name, info in {{
        "wrong hash": record(hosted=hosted | {{"sha256": "0" * 64}}),
        "wrong size": record(hosted=hosted | {{"bytes": 7}}),
        "missing": record(hosted=hosted | {{"file": "x.safetensors"}}),
    }}.items():
        try:
            weights_path(info)
        except FetchError as error:
            answers[name] = str(error)
    convert.convert_file = lambda source, target, **told: target.write_bytes(b"made of " + source.read_bytes())
    other = record("{running.url}/a.pth", name="slow_r50_8x8.other", hosted={{"repo": "org/none"}})
    answers["origin"] = weights_path(other).read_bytes().decode()
    path.resolve().write_bytes(b"?")
    try:
        weights_path(good)
    except FetchError as error:
        answers["changed"] = str(error)
    answers["repaired"] = download(good, force=True).read_bytes().decode()
    print(json.dumps(answers))
    """
    running.serve("/a.pth", file(ORIGINAL))
    answers = json.loads(
        child(code, tmp_path, HF_ENDPOINT=hub.url, HF_HOME=str(tmp_path / "hf"), HF_HUB_DISABLE_XET="1")[0]
    )
    assert answers["before"] == "missing"
    assert answers["good"] == [content.decode(), True, "ok"]
    assert answers["offline"] is True
    assert f"{NAME} (https://huggingface.co/org/zoo) is not on this disk" in answers["not here"]
    assert not any("y.safetensors" in request for request in hub.requests)
    assert answers["wrong hash"].endswith(
        f"is {sha256(content)}, expected is {'0' * 64}. Not used; slowfast-hub weights download {NAME} --force"
    )
    assert "has 700 bytes, expected are 7." in answers["wrong size"]
    assert f"{NAME} cannot be had from the Hugging Face Hub (org/zoo): " in answers["missing"]
    assert answers["origin"] == "made of " + ORIGINAL.decode()
    assert f"expected are {len(content)}" in answers["changed"]
    assert answers["repaired"] == content.decode()


# ---- several processes


def test_two_processes_that_ask_at_once_download_once(running, tmp_path):
    running.seen.clear()
    url = running.serve("/slow.pth", file(ORIGINAL, pause_s=1.5))
    code = f"""
    import sys, time
    from pathlib import Path
    from slowfast_hub.zoo import convert, fetch
    from test_fetch import record

    convert.convert_file = lambda source, target, **told: target.write_bytes(b"made of " + source.read_bytes())
    mine, other = (Path({str(tmp_path)!r}) / number for number in (sys.argv[1], "10"[int(sys.argv[1])]))
    mine.touch()
    while not other.exists():
        time.sleep(0.01)
    print(fetch.weights_path(record({url!r})).read_bytes().decode())
    """
    answers: dict[str, tuple[str, str]] = {}
    both = [Thread(target=lambda one=one: answers.update({one: child(code, tmp_path, one)})) for one in "01"]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [answers[one][0] for one in "01"] == ["made of " + ORIGINAL.decode() + "\n"] * 2
    assert len(running.seen) == 1
    said = [answers[one][1] for one in "01"]
    assert sum("waiting for another process" in text for text in said) == 1
    assert sum("trusted on first use" in text for text in said) == 1


def child(code: str, folder: Path, *arguments: str, **environment: str) -> tuple[str, str]:
    """stdout and stderr of a Python process whose cache is in `folder`."""
    paths = os.pathsep.join(map(str, (REPOSITORY, REPOSITORY / "tests", REPOSITORY / "tests" / "zoo")))
    own = {"PYTHONPATH": paths, "SLOWFAST_HUB_CACHE": str(folder / "cache"), "no_proxy": "*"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **own, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr
