"""From a record to a safetensors file on this disk: package, cache, mirror, Hugging Face Hub, origin, in this order.

A fetched file is hashed at every use, and compared with what the manifest says, or with the receipt beside it. Where
the makers of a file published no hash, the first download sets it, says so, and binds all later ones: the receipt
outlives its file.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit
from urllib.request import url2pathname

from slowfast_hub.spec import WeightsInfo
from slowfast_hub.zoo.cache import (
    MAX_JSON,
    NAME,
    Entry,
    cache_dir,
    check_file,
    hash_of,
    locked,
    named_folder,
    read_json,
    redo,
    sha256_of,
    sync,
    write_json,
)
from slowfast_hub.zoo.describe import read_header
from slowfast_hub.zoo.download import TRUE, AddressError, FetchError, check_url, forget, log
from slowfast_hub.zoo.download import download as download_file
from slowfast_hub.zoo.load import LoadError

__all__ = ["FetchError", "cache_dir", "cached", "download", "mirror", "verify", "weights_path"]

INDEX = "mirror.json"
LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Verification:
    """What `verify` found. `unrecorded`: a file put there by hand, whose hash its first use will record."""

    name: str
    state: Literal["ok", "changed", "missing", "unrecorded"]
    path: Path | None
    sha256: str | None = None
    expected: str | None = None


def weights_path(info: WeightsInfo) -> Path:
    """Where the safetensors of `info` lie, fetched if need be.

    Errors: LookupError when the record names no place they could come from, FetchError when they cannot be had.
    """
    return download(info)


def download(info: WeightsInfo, *, force: bool = False, trust_new: bool = False) -> Path:
    """`weights_path`. force: also where they are cached already; until the new file is whole, the old one stays.

    trust_new: accept another original than the one seen at the first download; implies force.
    """
    again = force or trust_new
    entry = Entry(cache_dir(), info.name)
    return (
        embedded(info)
        or from_cache(info, entry, again)
        or from_mirror(info, entry, again, trust_new)
        or from_hub(info, again)
        or from_origin(info, entry, again, trust_new)
    )


def embedded(info: WeightsInfo) -> Path | None:
    """The file in the package; None when it is not one of those that ship."""
    if not NAME.fullmatch(info.hosted.file):
        return None
    # as_file of a file in a directory is that file: torch.hub, wheels and editable installs all unpack the package.
    with as_file(files("slowfast_hub") / "zoo" / "embedded" / info.hosted.file) as path:
        return path if path.is_file() else None


def from_cache(info: WeightsInfo, entry: Entry, again: bool) -> Path | None:
    """No lock and nothing written where the entry is complete: a cache that is read-only serves."""
    if again:
        return None
    with named_folder(entry.folder):
        if entry.sound():
            return entry.weights
        if entry.receipt.exists() or not entry.weights.is_file():
            return None
    with entry.filling():
        if entry.read_receipt() is None:
            adopt(info, entry)
        return entry.weights if entry.sound() else None


def adopt(info: WeightsInfo, entry: Entry) -> None:
    """Give a receipt to a file without one: somebody put it there by hand, as `offline_advice` says."""
    check_name(entry.weights, info, f"delete it, or convert the original with --arch {info.name}")
    check_file(entry.weights, info.hosted.sha256, info.hosted.bytes, f"delete it, or: {redo(info.name)}")
    entry.install(entry.weights, source="put there by hand")
    if info.hosted.sha256 is None:
        log.warning("%s: taken as it is; its SHA-256 is checked from now on", entry.weights)


def check_name(path: Path, info: WeightsInfo, advice: str) -> None:
    """FetchError when the header of a file names another one."""
    try:
        described = read_header(path)
    except LoadError as error:
        raise FetchError(f"{error}. Not used; {advice}") from error
    if described is not None and described.name != info.name:
        raise FetchError(f"{path} holds {described.name}, not {info.name}. Not used; {advice}")


def from_mirror(info: WeightsInfo, entry: Entry, again: bool, trust_new: bool) -> Path | None:
    """From the folder or address in SLOWFAST_HUB_MIRROR; None when there is none or it does not list the name."""
    place = mirror_place()
    if place is None or (isinstance(place, str) and offline()):
        return None
    with entry.filling() as work:
        if not again and entry.sound():
            return entry.weights
        listed = listed_in(place, info, work)
        if listed is None:
            return None
        file, made = f"{info.name}.safetensors", work / "made"
        if isinstance(place, str):
            download_file(f"{place}/{file}", entry.part)
            os.replace(entry.part, made)
        elif (place / file).is_file():
            shutil.copyfile(place / file, made)
        else:
            raise FetchError(f"{place / file} is listed in {place / INDEX}, but is not there; fill the mirror again")
        sha256, size = listed
        check_file(made, info.hosted.sha256 or sha256, size, f"fill the mirror {place} again")
        check_name(made, info, f"fill the mirror {place} again")
        receipt = entry.read_receipt()
        if receipt is not None and not receipt.fits(sha256) and not trust_new and info.hosted.sha256 is None:
            raise FetchError(
                f"{place}/{file} has the SHA-256 {sha256}, the file known here has {receipt.sha256}. If the new one is "
                f"right: slowfast-hub weights download {info.name} --trust-new"
            )
        if receipt is None and info.hosted.sha256 is None:
            log.warning("%s: no hash of %s is published; trusted on first use: %s", info.name, place, sha256)
        entry.install(made, source=f"{place}/{file}")
    return entry.weights


def mirror_place() -> str | Path | None:
    """A folder, also from a file: address, as a Path; any other address as text."""
    place = os.environ.get("SLOWFAST_HUB_MIRROR", "").strip()
    if "://" not in place:
        return Path(os.path.expanduser(place)) if place else None
    if place.startswith("file://"):
        return Path(url2pathname(urlsplit(place).path))
    check_url(place)
    if not place.startswith("https://") and urlsplit(place).hostname not in LOOPBACK:
        raise FetchError(
            f"SLOWFAST_HUB_MIRROR={place}: a mirror is a folder or https; http only on this machine itself"
        )
    return place.rstrip("/")


def listed_in(place: str | Path, info: WeightsInfo, work: Path) -> tuple[str, int] | None:
    """SHA-256 and bytes that the index of a mirror gives; nothing else of the index is used, no path in particular."""
    index = work / INDEX
    try:
        if isinstance(place, Path):
            index = place / INDEX
        else:
            download_file(f"{place}/{INDEX}", index, limit=MAX_JSON)
        record = read_json(index).get(info.name)
        if record is None:
            return None
        if not re.fullmatch(r"[0-9a-f]{64}", record["sha256"]):
            raise ValueError(f"{record['sha256']!r} is no SHA-256")
        return record["sha256"], int(record["bytes"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FetchError(
            f"SLOWFAST_HUB_MIRROR={place} is no mirror: {INDEX}: {error}; `slowfast-hub weights mirror DIR` fills one"
        ) from error


def from_hub(info: WeightsInfo, again: bool) -> Path | None:
    """From the Hugging Face Hub, into its own cache; None when not published, or not reached but with an origin."""
    if info.hosted.repo is None:
        return None
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HTTPError

    repo, file, revision, away = info.hosted.repo, info.hosted.file, info.hosted.revision, offline()
    try:
        path = hf_hub_download(repo, file, revision=revision, local_files_only=away, force_download=again and not away)
    except (OSError, HTTPError) as error:  # no network, no such file, a full disk: the origin may still do
        reason = f"{info.name} cannot be had from the Hugging Face Hub ({repo}): {error}"
        if not away and info.origin.url is None:
            raise FetchError(reason) from error
        if not away:
            log.warning("%s", reason)
        return None
    check_file(Path(path), info.hosted.sha256, info.hosted.bytes, redo(info.name))
    return Path(path)


def from_origin(info: WeightsInfo, entry: Entry, again: bool, trust_new: bool) -> Path:
    """From the project that made it: downloaded, checked, converted; the download is deleted."""
    urls = (*filter(None, (info.origin.url,)), *info.origin.alternatives)
    if not urls and info.hosted.repo is None:
        raise LookupError(
            f"{info.name}: {info.hosted.file} is missing from the package and its record names no address; "
            "install slowfast-hub again, or pass checkpoint_path="
        )
    if offline():
        raise FetchError(offline_advice(info, entry))
    problems: list[str] = []
    with entry.filling() as work:
        if not again and entry.sound():  # another process was faster
            return entry.weights
        for url in urls:
            try:
                convert_from(url, info, entry, work / "made", trust_new)
                return entry.weights
            except AddressError as error:
                problems.append(str(error))
    raise FetchError(f"{info.name} cannot be had: {'; '.join(problems)}. {by_hand(info, entry)}")


def convert_from(url: str, info: WeightsInfo, entry: Entry, made: Path, trust_new: bool) -> None:
    """Fill the entry from one address; AddressError when what comes from there is not the file."""
    from safetensors import SafetensorError

    from slowfast_hub.zoo.convert import convert_file  # only a first download needs the converters

    download_file(url, entry.part)
    sha256, size = sha256_of(entry.part), entry.part.stat().st_size
    first = check_original(url, info, entry, sha256, trust_new)
    origin = {"url": url, "sha256": sha256, "license": info.origin.license}
    try:
        convert_file(entry.part, made, weights=info, origin=origin)
    except ValueError as error:
        forget(entry.part)
        raise AddressError(f"{url}: {error}") from error
    except SafetensorError as error:  # its word for a full disk
        raise OSError(str(error)) from error
    entry.install(made, source=url, original=(sha256, size))
    if first:
        log.warning("%s: no hash of %s is published; trusted on first use, its SHA-256 is %s", info.name, url, sha256)


def check_original(url: str, info: WeightsInfo, entry: Entry, sha256: str, trust_new: bool) -> bool:
    """AddressError unless the download is the published and the known one; True when its hash is new and only ours."""
    kind, _, digits = (info.origin.digest or "sha256:").partition(":")
    found = hash_of(entry.part, kind)
    receipt = entry.read_receipt()
    known = receipt.origin_sha256 if receipt else None
    problem = None
    if not found.startswith(digits):
        problem = f"the {kind} of what came is {found}, published is {digits}"
    elif known not in (None, sha256) and not trust_new:
        problem = (
            f"the SHA-256 of what came is {sha256}, at the first download here it was {known}. If the new file is "
            f"right: slowfast-hub weights download {info.name} --trust-new"
        )
    if problem is not None:
        forget(entry.part)
        raise AddressError(f"{url}: {problem}")
    return info.origin.digest is None and known != sha256


def offline() -> bool:
    """As huggingface_hub reads it."""
    chosen = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return chosen.upper() in TRUE


def offline_advice(info: WeightsInfo, entry: Entry) -> str:
    source = info.origin.url or f"https://huggingface.co/{info.hosted.repo}"
    return (
        f"{info.name} ({source}) is not on this disk, and HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE keeps it from the "
        f"network, and from a mirror that is no folder. {by_hand(info, entry)}"
    )


def by_hand(info: WeightsInfo, entry: Entry) -> str:
    """How the file gets here without this machine's network."""
    original = f", or convert the original: slowfast-hub convert FILE {entry.weights} --arch {info.name}"
    return (
        f"On a connected machine: slowfast-hub weights mirror DIR {info.name}; then set SLOWFAST_HUB_MIRROR=DIR here, "
        f"or put DIR/{info.name}.safetensors at {entry.weights}" + (original if info.origin.url else "")
    )


def local_path(info: WeightsInfo) -> Path | None:
    """Where the file lies now, unchecked; None when it would have to be fetched."""
    entry = Entry(cache_dir(), info.name)
    shipped = embedded(info)
    if shipped is not None or entry.weights.is_file():
        return shipped or entry.weights
    if info.hosted.repo is None:
        return None
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(info.hosted.repo, info.hosted.file, revision=info.hosted.revision)
    return Path(path) if isinstance(path, str) else None


def cached(info: WeightsInfo) -> bool:
    """Whether the file is on this disk."""
    return local_path(info) is not None


def verify(info: WeightsInfo) -> Verification:
    """Hash the file where it lies; nothing is fetched or changed."""
    path = local_path(info)
    if path is None:
        return Verification(info.name, "missing", None)
    entry = Entry(cache_dir(), info.name)
    receipt = entry.read_receipt() if path == entry.weights else None
    expected, found = receipt.sha256 if receipt else info.hosted.sha256, sha256_of(path)
    if expected is None:
        return Verification(info.name, "unrecorded", path, found)
    same = receipt.fits(found) if receipt else found == expected
    return Verification(info.name, "ok" if same else "changed", path, found, expected)


def mirror(folder: Path, infos: Iterable[WeightsInfo]) -> None:
    """Fill a folder that serves as SLOWFAST_HUB_MIRROR, as it is or behind a web server; bit by bit where need be."""
    with named_folder(folder, "choose another"):
        folder.mkdir(parents=True, exist_ok=True)
        for info in infos:
            source = weights_path(info)
            if info.hosted.sha256 not in (None, sha256_of(source)):  # converted here, before it was published
                source = download(info, force=True)
            check_file(source, info.hosted.sha256, info.hosted.bytes, redo(info.name))
            with locked(folder / "mirror.lock"):
                add_to_mirror(folder, info.name, source)


def add_to_mirror(folder: Path, name: str, source: Path) -> None:
    made, index = folder / f"{name}.tmp", folder / INDEX
    shutil.copyfile(source, made)
    sync(made)
    record = {"sha256": sha256_of(made), "bytes": made.stat().st_size}
    os.replace(made, folder / f"{name}.safetensors")
    try:
        listed = read_json(index) if index.exists() else {}
        write_json(index, dict(sorted({**listed, name: record}.items())))
    except (ValueError, TypeError, RecursionError) as error:
        raise FetchError(f"{index} is no index of a mirror ({error}); delete it, and fill the mirror again") from error
