"""The files of fetched weights on this disk: a safetensors file, and the receipt that says which one it is.

Kill -9 at any line leaves an entry or none, and an old one until its successor is whole: files are made under other
names, are on the disk before they are renamed, and a receipt comes before its file and holds for the one it replaces.
What was left is removed, or gone on with, by the next process that holds the lock.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from slowfast_hub.zoo.download import FetchError, forget, log

MAX_JSON = 4 << 20  # bytes
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")  # what may become a file name: no separators, no leading dot


@dataclass(frozen=True)
class Receipt:
    """What is known of a cached file, and of the download it was made of; kept when the file goes."""

    sha256: str
    bytes: int
    source: str  # where it came from
    origin_sha256: str | None  # of the original file; None: never seen here
    origin_bytes: int | None
    first_seen: str  # the date of that
    version: str  # of slowfast_hub, which converted it
    replaces: str | None = None  # SHA-256 of the file before, while the two are being exchanged

    def fits(self, sha256: str) -> bool:
        return sha256 in (self.sha256, self.replaces)


@dataclass(frozen=True)
class Entry:
    """The files of one record in the cache."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} cannot be a file name: letters, digits, '_', '-' and '.' only")

    @property
    def weights(self) -> Path:
        return self.folder / f"{self.name}.safetensors"

    @property
    def receipt(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def part(self) -> Path:
        """A download on its way, or whole and not yet converted."""
        return self.folder / f"{self.name}.part"

    def read_receipt(self) -> Receipt | None:
        try:
            return Receipt(**read_json(self.receipt))
        except FileNotFoundError:
            return None
        except (IsADirectoryError, ValueError, TypeError, RecursionError) as error:
            raise FetchError(
                f"{self.receipt} is no receipt any more ({error}); delete it, then: {redo(self.name)}"
            ) from error

    def sound(self) -> bool:
        """Whether the file is there and the one of its receipt; FetchError when it changed."""
        receipt = self.read_receipt()
        if receipt is None or not self.weights.is_file():
            return False
        found = sha256_of(self.weights)
        if receipt.fits(found):
            return True
        if self.read_receipt() != receipt:  # replaced by another process in between
            return self.sound()
        raise FetchError(
            f"{self.weights} changed since it was made: its SHA-256 is {found}, its receipt says {receipt.sha256}. "
            f"It is not used. To fetch it again: {redo(self.name)}"
        )

    @contextmanager
    def filling(self) -> Iterator[Path]:
        """The lock, and an empty folder for what is being made; it goes with everything in it."""
        work = self.folder / f"{self.name}.tmp"
        with named_folder(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / f"{self.name}.lock"):
                shutil.rmtree(work, ignore_errors=True)
                work.mkdir()
                try:
                    yield work
                finally:
                    shutil.rmtree(work, ignore_errors=True)

    def install(self, made: Path, *, source: str, original: tuple[str, int] | None = None) -> None:
        """`made` becomes the file of the entry. original: SHA-256 and bytes of the download it was converted from."""
        before = self.read_receipt()
        known = original or ((before.origin_sha256, before.origin_bytes) if before else (None, None))
        seen_before = before is not None and before.origin_sha256 == known[0]
        receipt = Receipt(
            sha256=sha256_of(made),
            bytes=made.stat().st_size,
            source=source,
            origin_sha256=known[0],
            origin_bytes=known[1],
            first_seen=before.first_seen if before and seen_before else datetime.now(UTC).date().isoformat(),
            version=package_version(),
            replaces=before.sha256 if before else None,
        )
        sync(made)
        write_json(self.receipt, asdict(receipt))
        forget(self.part)
        os.replace(made, self.weights)
        sync(self.folder)
        if before is not None:
            write_json(self.receipt, asdict(replace(receipt, replaces=None)))


def cache_dir() -> Path:
    """SLOWFAST_HUB_CACHE, or a folder in that of torch.hub, which follows TORCH_HOME."""
    chosen = os.environ.get("SLOWFAST_HUB_CACHE")
    return Path(os.path.expanduser(chosen)).absolute() if chosen else Path(torch.hub.get_dir()) / "slowfast_hub"


def check_file(path: Path, sha256: str | None, size: int | None, advice: str) -> None:
    """FetchError unless the file is the expected one, as far as that is known."""
    if size not in (None, path.stat().st_size):
        raise FetchError(f"{path} has {path.stat().st_size:,} bytes, expected are {size:,}. Not used; {advice}")
    if sha256 is not None and (found := sha256_of(path)) != sha256:
        raise FetchError(f"the SHA-256 of {path} is {found}, expected is {sha256}. Not used; {advice}")


@contextmanager
def named_folder(folder: Path, advice: str = "SLOWFAST_HUB_CACHE sets another") -> Iterator[None]:
    """What the operating system refuses in a folder becomes a FetchError that names it."""
    try:
        yield
    except FetchError:
        raise
    except OSError as error:
        raise FetchError(f"{folder}: {error}. Weights need a folder with room that can be written: {advice}") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """One process at a time; the one that waits says so."""
    from filelock import FileLock, Timeout

    lock = FileLock(path)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        log.warning("waiting for another process that holds %s", path)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def read_json(path: Path) -> Any:
    """A small file, as the index of a mirror and a receipt are; ValueError for a large one."""
    if path.stat().st_size > MAX_JSON:
        raise ValueError(f"{path.stat().st_size:,} bytes, expected are at most {MAX_JSON:,}")
    return json.loads(path.read_text(encoding="utf-8"))


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Whole or not at all."""
    made = path.with_name(f"{path.name}.tmp")
    made.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
    sync(made)
    os.replace(made, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """What was written to a file, or renamed in a folder, is on the disk after this."""
    if os.name != "posix":  # folders cannot be opened elsewhere
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def hash_of(path: Path, kind: str) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, kind).hexdigest()


def sha256_of(path: Path) -> str:
    return hash_of(path, "sha256")


def redo(name: str) -> str:
    return f"slowfast-hub weights download {name} --force"


def package_version() -> str:
    try:
        return version("slowfast-hub")
    except PackageNotFoundError:  # torch.hub runs an unpacked folder
        return "not installed"
