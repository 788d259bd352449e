"""Long work that can be stopped at any moment and taken up again: finished batches, line by line in a file.

The first line says what the work is. Each further one holds the answers of a batch, every bit of them, so that work
done in two goes gives what one go gives, and its place among all rows, so that a line too many shows. A line that was
cut off when the process died does not count.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

import torch
from torch import Tensor, nn

from slowfast_hub.video.reader import ArrayReader, Video, VideoReader, images_in

Header = dict[str, object]

LONGEST_HEADER = 1 << 20  # bytes; a file that is no record may have no lines at all
CHUNK = 1 << 20  # bytes of a file read at once


class Record:
    """Batches of float32 rows, kept in a file where there is one."""

    def __init__(self, file: BinaryIO | None, done: list[Tensor]) -> None:
        self.done = done  # the batches that were there already
        self._rows = sum(map(len, done))
        self._file = file

    def append(self, batch: Tensor) -> None:
        """Add the rows `(B, C)` float32 of one batch; a process that dies after this has not lost them."""
        if self._file is not None:
            values = base64.b64encode(batch.numpy().astype("<f4").tobytes()).decode("ascii")
            self._file.write(as_line({"at": self._rows, "float32": values}))
            self._file.flush()
        self._rows += len(batch)


@contextmanager
def record(path: Path | None, header: Header, *, columns: int) -> Iterator[Record]:
    """The record at `path` of batches `(B, columns)`, begun if there is none; without a path nothing is kept.

    ValueError for the record of other work, for a file that is no record, and for a record whose lines are not one
    after the other, as when two processes write to it: none of them is changed.
    """
    if path is None:
        yield Record(None, [])
        return
    first = as_line(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab+") as file:
        file.seek(0)
        found = file.readline(LONGEST_HEADER)
        if first.startswith(found) and found != first:  # new, or cut off in its first line
            file.truncate(0)
            file.write(first)
            file.flush()
        elif found != first:
            raise ValueError(f"{path} {difference(found, header)}; ask as it was begun, or choose another file")
        done: list[Tensor] = []
        rows, end = 0, len(first)
        for line in file:
            if line.endswith(b"\n"):
                done.append(rows_of(line, columns, path, at=rows))
                rows += len(done[-1])
                end += len(line)
        file.truncate(end)
        yield Record(file, done)


def as_line(value: Header) -> bytes:
    return json.dumps(value).encode() + b"\n"


def difference(first: bytes, header: Header) -> str:
    """In what the work that begins with the line `first` is not that of `header`."""
    try:
        found = json.loads(first)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        return "is not the record of a timeline"
    wanted = json.loads(as_line(header))
    changed = [
        f"{name} {found.get(name)!r}, not {wanted[name]!r}" for name in wanted if found.get(name) != wanted[name]
    ]
    return f"was begun for other work: {'; '.join(changed) or 'by another version'}"


def rows_of(line: bytes, columns: int, path: Path, *, at: int) -> Tensor:
    """The batch of a line, the first row of which is row `at` of all; ValueError for any other line."""
    try:
        found = json.loads(line)
        place, values = found["at"], bytearray(base64.b64decode(found["float32"], validate=True))
        batch = torch.frombuffer(values, dtype=torch.float32).reshape(-1, columns)
    except (LookupError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: a line holds no batch of {columns} columns; delete it") from error
    if place != at:
        two = "did two processes write to it?"
        raise ValueError(f"{path} is damaged: a line begins with row {place!r} where {at} is next ({two}); delete it")
    return batch


def identity(video: Video, reader: VideoReader) -> Header:
    """What tells a video from others: sizes and dates on the disk, else all of its bytes or pixels.

    ValueError for what cannot be told from others: an address, whose content may be another one tomorrow, and a pipe.
    """
    info = reader.info
    known: Header = {"source": info.source, "frames": info.frames, "fps": info.fps, "size": [info.width, info.height]}
    path = on_disk(video)
    if path is not None and path.is_dir():
        return known | {"source": path.name, "sha256": listing(path)}
    if path is not None:
        status = path.stat()
        return known | {"source": path.name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    if isinstance(video, bytes):
        return known | {"sha256": hashlib.sha256(video).hexdigest()}
    if isinstance(reader, ArrayReader):
        digest = hashlib.sha256()
        for frame in reader.stream(range(info.frames)):
            digest.update(frame.contiguous().numpy().data)
        return known | {"sha256": digest.hexdigest()}
    if hasattr(video, "read") and cast(BinaryIO, video).seekable():
        return known | {"sha256": content(cast(BinaryIO, video))}
    what = "an address or a pipe cannot be told from other videos, so that work on it cannot be taken up again"
    raise ValueError(f"{info.source}: {what}; save it to the disk first, or leave resume out")


def on_disk(video: Video) -> Path | None:
    """Where a video lies: a file or a folder of frames; None for all that has no place on the disk."""
    if not isinstance(video, str | Path):
        return None
    path = str(video).removeprefix("file:")
    return Path(path) if os.path.exists(path) else None


def listing(folder: Path) -> str:
    """SHA-256 of the names, sizes and dates of a folder's images."""
    digest = hashlib.sha256()
    for image in images_in(folder):
        status = image.stat()
        digest.update(json.dumps([image.name, status.st_size, status.st_mtime_ns]).encode())
    return digest.hexdigest()


def content(file: BinaryIO) -> str:
    """SHA-256 of all bytes of a file object."""
    digest = hashlib.sha256()
    file.seek(0)
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
