"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from torch import Tensor


@contextmanager
def whole_file(path: str | Path) -> Iterator[Path]:
    """A name beside `path` to write to; it becomes `path` when the block ends well, and is gone when it does not."""
    path = Path(path)
    if path.exists() and not path.is_file():  # to put a file in the place of a device or a folder is never meant
        raise FileExistsError(f"{path} is there and is no file; choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid4().hex[:12]}")  # of its own for each process and thread
    partial.touch()
    mode = partial.stat().st_mode  # as this user makes files; safetensors would make it theirs alone
    try:
        yield partial
        partial.chmod(mode)
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def save_tensors(tensors: Mapping[str, Tensor], path: str | Path, *, metadata: dict[str, str]) -> Path:
    """Write a safetensors file; `metadata` goes into its header (`describe.to_header`)."""
    from safetensors.torch import save_file

    with whole_file(path) as partial:
        # Channels-last tensors are strided; the file format holds contiguous ones only.
        save_file({key: value.contiguous() for key, value in tensors.items()}, partial, metadata)
    return Path(path)
