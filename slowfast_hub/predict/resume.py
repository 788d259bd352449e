"""Long work that can be stopped at any moment and taken up again: finished batches, line by line in a file.

The first line says what the work is. Each further one holds the answers of a batch, every bit of them, so that work
done in two goes gives what one go gives. A line that was cut off when the process died does not count.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import torch
from torch import Tensor, nn

from slowfast_hub.video.reader import ArrayReader, Video, VideoReader

Header = dict[str, object]

LONGEST_HEADER = 1 << 20  # bytes; a file that is no record may have no lines at all


class Record:
    """Batches of float32 rows, kept in a file where there is one."""

    def __init__(self, file: BinaryIO | None, done: list[Tensor]) -> None:
        self.done = done  # the batches that were there already
        self._file = file

    def append(self, batch: Tensor) -> None:
        """Add the rows `(B, C)` float32 of one batch; a process that dies after this has not lost them."""
        if self._file is not None:
            content = base64.b64encode(batch.numpy().astype("<f4").tobytes()).decode("ascii")
            self._file.write(as_line({"float32": content}))
            self._file.flush()


@contextmanager
def record(path: Path | None, header: Header, *, columns: int) -> Iterator[Record]:
    """The record at `path` of batches `(B, columns)`, begun if there is none; without a path nothing is kept.

    ValueError for the record of other work, and for a file that is no record: neither is changed.
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
        done, end = [], len(first)
        for line in file:
            if line.endswith(b"\n"):
                done.append(rows_of(line, columns, path))
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


def rows_of(line: bytes, columns: int, path: Path) -> Tensor:
    try:
        content = bytearray(base64.b64decode(json.loads(line)["float32"], validate=True))
        return torch.frombuffer(content, dtype=torch.float32).reshape(-1, columns)
    except (LookupError, ValueError, RuntimeError, TypeError) as error:
        raise ValueError(f"{path} is damaged: a line holds no batch of {columns} columns; delete it") from error


def identity(video: Video, reader: VideoReader) -> Header:
    """What tells a video from others: its size and date on the disk, else its pixels or bytes."""
    info = reader.info
    known: Header = {"source": info.source, "frames": info.frames, "fps": info.fps, "size": [info.width, info.height]}
    if isinstance(video, str | Path) and os.path.exists(video):
        status = os.stat(video)
        return known | {"source": Path(video).name, "bytes": status.st_size, "modified_ns": status.st_mtime_ns}
    if isinstance(video, bytes):
        return known | {"sha256": hashlib.sha256(video).hexdigest()}
    if isinstance(reader, ArrayReader):
        digest = hashlib.sha256()
        for frame in reader.stream(range(info.frames)):
            digest.update(frame.contiguous().numpy().data)
        return known | {"sha256": digest.hexdigest()}
    return known


def fingerprint(model: nn.Module) -> str:
    """SHA-256 of the names and values of all weights."""
    digest = hashlib.sha256()
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
