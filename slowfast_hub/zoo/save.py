"""Files that are written whole or not at all."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import torch
from torch import Tensor

from slowfast_hub.zoo.load import ALIGNED

KINDS = {
    torch.float32: "F32",
    torch.float64: "F64",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


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
    """Write a safetensors file; `metadata` goes into its header (`describe.to_header`).

    The format is the library's (https://huggingface.co/docs/safetensors), the order is ours: the library sorts by name,
    so that one bias of an odd size moves all behind it away from the addresses that kernels like, and a network mapped
    to the file then adds its sums in another order than the network that was saved. Here round sizes come first and
    the header is padded; and the same tensors make the same bytes.
    """
    order = sorted(tensors, key=lambda key: (-(tensors[key].nbytes & -tensors[key].nbytes), key))
    header: dict[str, object] = {"__metadata__": metadata} if metadata else {}
    end = 0
    for key in order:
        begin, end = end, end + tensors[key].nbytes
        kind = KINDS[tensors[key].dtype]
        header[key] = {"dtype": kind, "shape": list(tensors[key].shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-(8 + len(text)) % ALIGNED)
    with whole_file(path) as partial, partial.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for key in order:
            # Row by row: channels-last tensors are strided, and the file holds contiguous ones only.
            file.write(tensors[key].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return Path(path)
