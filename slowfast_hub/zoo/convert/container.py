"""From a published checkpoint on the disk to a dict of tensors, without running anything that the file says.

The format is told by the first bytes, never by the name: `.pkl` files of PySlowFast are Caffe2 pickles or torch.save
files, and some were found gzipped. torch.save files are opened with `weights_only=True`; the Python-2 pickles of Caffe2
by an unpickler that knows numpy's arrays of plain numbers and nothing else. Sizes are checked before memory is taken.
"""

from __future__ import annotations

import gzip
import io
import os
import pickle
import re
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from slowfast_hub.zoo.convert.opcodes import MAX_INSTRUCTIONS, check_opcodes
from slowfast_hub.zoo.convert.refusal import DAMAGED, ConvertError
from slowfast_hub.zoo.load import read_safetensors

MAX_BYTES = 2 << 30  # of a checkpoint, unpacked; the largest published one has 0.5 GB with its optimizer
MAX_PICKLE = 64 << 20  # of the pickle inside a torch.save file; real ones have 0.1 MB
MANY_INSTRUCTIONS = 20_000_000  # of a pickle of boxes: 203,626 arrays of AVA's frames have some 4 million
LEGACY_PICKLES = 5  # magic number, protocol, machine, weights, order of storages; then come the raw storages
# Keys that hold the weights, in the order they are looked for.
WEIGHT_KEYS = ("model_state", "state_dict", "blobs", "ema_state_dict", "model", "model_state_dict")

TAR_ENTRIES = 100
TORCH_MAGIC = 0x1950A86A20F9469CFC6C  # torch.save before 1.6


@dataclass(frozen=True)
class Checkpoint:
    """What a file holds: its weights under its own names, on the CPU, and what else there was."""

    tensors: dict[str, Tensor]
    others: tuple[tuple[str, str], ...] = ()  # (name, what it is) of entries that are no weights


def read_checkpoint(path: str | Path) -> Checkpoint:
    """The weights of a checkpoint: of torch.save files, Caffe2 pickles and safetensors, bare or in gzip or tar.

    Errors: FileNotFoundError; ConvertError for anything else, hostile files included.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path}: {'a folder' if path.is_dir() else 'no such file'}; expected a checkpoint")
    with unwrapped(path) as file:
        check_size(path, file.stat().st_size)
        kind = kind_of(file)
        if kind == "safetensors":
            return Checkpoint(read_safetensors(file))
        content = READERS[kind](file) if kind in READERS else refuse(path, kind)
        return named_tensors(path, content)


def kind_of(path: Path) -> str:
    """What the first bytes say a file is."""
    with path.open("rb") as file:
        head = file.read(512)
    text = head.lstrip().lower()
    if head.startswith(b"PK\x03\x04"):
        return "torch zip"
    if head.startswith(b"\x1f\x8b"):
        return "gzip"
    if head[257:262] == b"ustar":
        return "tar"
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page: the server answered with an error instead of the file"
    if text.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer: fetch the file it stands for (git lfs pull)"
    if head[8:9] == b"{" and int.from_bytes(head[:8], "little") < MAX_BYTES:
        return "safetensors"
    if head.startswith(b"\x80\x02\x8a\x0a" + TORCH_MAGIC.to_bytes(10, "little")):
        return "torch legacy"
    if head.startswith(b"\x80") and len(head) > 1 and head[1] <= pickle.HIGHEST_PROTOCOL:
        return "pickle"
    return "empty" if not head else f"of no kind known here (it begins with {head[:8]!r})"


def refuse(path: Path, kind: str) -> Any:
    raise ConvertError(
        f"{path} is {kind}; expected a checkpoint of torch.save, a Caffe2 pickle, or one of these in gzip or tar"
    )


def check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise ConvertError(f"{path}: {size} bytes unpacked, more than the {MAX_BYTES} a checkpoint may have here")


@contextmanager
def unwrapped(path: Path, layers: int = 3) -> Iterator[Path]:
    """The file itself, or a temporary copy of what its gzip and tar wrappers hold; at most so many `layers`."""
    kind = kind_of(path)
    if kind not in ("gzip", "tar"):
        yield path
        return
    if not layers:  # a gzip file can hold itself
        raise ConvertError(f"{path}: wrapped in gzip or tar too many times over")
    with tempfile.TemporaryDirectory(prefix="slowfast_hub-") as folder:
        inner = Path(folder) / "checkpoint"
        try:
            if kind == "gzip":
                with gzip.open(path) as stream:
                    copy_limited(path, stream, inner)
            else:
                unpack_tar(path, inner)
        except ConvertError:
            raise
        except DAMAGED as error:
            raise ConvertError(f"{path}: its {kind} wrapper is damaged: {error}") from error
        with unwrapped(inner, layers - 1) as innermost:
            yield innermost


def unpack_tar(path: Path, target: Path) -> None:
    """The one checkpoint of a tar file, block by block: tarfile reads long names whole, and they may be of any size."""
    found: tuple[int, int] | None = None
    with path.open("rb") as file:
        for _ in range(TAR_ENTRIES):
            block = file.read(tarfile.BLOCKSIZE)
            if not block.strip(b"\0"):
                break
            entry = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
            if entry.isreg() and found is not None:
                raise ConvertError(f"{path}: a tar file with several files; expected one checkpoint")
            if entry.isreg():
                found = file.tell(), entry.size
            file.seek(-(-entry.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE, os.SEEK_CUR)
        if found is None:
            raise ConvertError(f"{path}: a tar file without a file; expected one checkpoint")
        file.seek(found[0])
        copy_limited(path, file, target, found[1])


def copy_limited(path: Path, stream: Any, target: Path, size: int | None = None) -> None:
    """What comes, or the first `size` bytes of it, up to the limit."""
    written = 0
    with target.open("wb") as out:
        while chunk := stream.read(1 << 20 if size is None else min(1 << 20, size - written)):
            written += len(chunk)
            check_size(path, written)
            out.write(chunk)


def read_torch_zip(path: Path) -> Any:
    try:
        with zipfile.ZipFile(path) as archive:
            check_entries(path, archive)
    except ConvertError:
        raise
    except DAMAGED as error:
        raise ConvertError(f"{path}: a damaged or incomplete torch.save file ({error}); download it again") from error
    return torch_load(path, mmap=True)


def check_entries(path: Path, archive: zipfile.ZipFile) -> None:
    """What the zip file says of itself, and the instructions of the pickles in it."""
    entries = archive.infolist()
    check_size(path, sum(entry.file_size for entry in entries))
    if sum(entry.filename.endswith(".pkl") for entry in entries) > 1:
        raise ConvertError(f"{path}: more than one pickle, where torch.save writes one")
    for entry in entries:
        if entry.filename.startswith(("/", "\\")) or ".." in Path(entry.filename).parts:
            raise ConvertError(f"{path}: an entry called {entry.filename!r} points outside of the file")
        if entry.compress_type != zipfile.ZIP_STORED:  # torch.save never compresses; a bomb does
            raise ConvertError(f"{path}: the entry {entry.filename!r} is compressed, as torch.save never does")
        if entry.filename.endswith(".pkl"):
            if entry.file_size > MAX_PICKLE:
                raise ConvertError(f"{path}: a pickle of {entry.file_size} bytes; real ones are far smaller")
            check_opcodes(path, io.BytesIO(archive.read(entry)))


def read_torch_legacy(path: Path) -> Any:
    with path.open("rb") as file:
        check_opcodes(path, file, LEGACY_PICKLES)
    return torch_load(path, mmap=False)


def torch_load(path: Path, *, mmap: bool) -> Any:
    """torch.load with weights_only; MMEngine's training history, which some checkpoints carry, is taken as a blank."""
    blanks = [(Blank, f"mmengine.logging.{name}") for name in ("history_buffer.HistoryBuffer", "HistoryBuffer")]
    try:
        with torch.serialization.safe_globals([*blanks, *numpy_blanks()]):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except pickle.UnpicklingError as error:
        asked = re.search(r"GLOBAL ([\w.]+)", str(error))
        reason = f"it asks for {asked[1]}" if asked else "it does something that weights need not"
        raise ConvertError(
            f"{path}: it holds more than weights, and opening that could run code, so it stays closed ({reason}). "
            "Where you trust it, save its weights alone: torch.save(torch.load(..., weights_only=False)[...], ...)"
        ) from error
    except DAMAGED as error:
        raise ConvertError(f"{path}: a damaged or incomplete torch.save file ({error})") from error


class Blank:
    """Stands where a checkpoint has something that is no weight. It takes any state and keeps none."""

    def __init__(self, *_: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def blank(*_: object) -> Blank:
    return Blank()


def numpy_blanks() -> list[tuple[Any, str]]:
    """numpy's own names: scalars and arrays beside the weights (learning rates, seeds) are of no use here."""
    made = [(blank, f"{module}.multiarray.{name}") for module in NUMPY for name in ("_reconstruct", "scalar")]
    return [*made, (Blank, "numpy.ndarray"), (Blank, "numpy.dtype"), (blank, "_codecs.encode")]


NUMPY = ("numpy.core", "numpy._core")


def read_arrays(path: Path) -> dict[str, Any]:
    """The dict of arrays in a pickle with very many small ones, an array as `PlainArray`; ConvertError for all else."""
    check_size(path, path.stat().st_size)
    content = read_caffe2(path, most=MANY_INSTRUCTIONS)
    if not isinstance(content, dict):
        raise ConvertError(f"{path}: holds a {type(content).__name__}; expected a dict of arrays")
    return {text(key): value for key, value in content.items()}


def read_caffe2(path: Path, most: int = MAX_INSTRUCTIONS) -> Any:
    """A Python-2 pickle of a dict of numpy arrays (PySlowFast, c2_model_loading.py)."""
    with path.open("rb") as file:
        check_opcodes(path, file, most=most)
        file.seek(0)
        try:
            return ArrayUnpickler(file, encoding="bytes").load()
        except ConvertError as error:
            raise ConvertError(f"{path}: {error}") from error
        except DAMAGED as error:
            raise ConvertError(f"{path}: a damaged or incomplete pickle ({error})") from error


class ArrayUnpickler(pickle.Unpickler):
    """Admits numpy arrays of plain numbers, and nothing else: no other name can be reached from the file."""

    def find_class(self, module: str, name: str) -> Any:
        text = f"{module}.{name}"
        if text in ADMITTED:
            return ADMITTED[text]
        raise ConvertError(f"the pickle asks for {text[:80]!r}, which is no array; it stays closed")


class PlainType:
    """numpy.dtype of a pickle, for numbers only."""

    def __init__(self, code: object, *_: object) -> None:
        text = code.decode("ascii") if isinstance(code, bytes) else code
        if not isinstance(text, str) or text not in TYPES:
            shown = repr(text) if isinstance(text, str) else type(text).__name__
            raise ConvertError(f"an array of type {shown:.40}; expected numbers: {', '.join(TYPES)}")
        self.torch = TYPES[text]

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in (b">", ">"):
            raise ConvertError("an array of big-endian numbers; expected little-endian ones")


class PlainArray:
    """numpy.ndarray of a pickle: made empty, filled by its state, of which every size is checked."""

    tensor: Tensor | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, kind, fortran, content = state
        if not isinstance(kind, PlainType) or fortran:
            raise ConvertError("an array that is no plain row-major array of numbers")
        content = content.encode("latin1") if isinstance(content, str) else content
        if not isinstance(content, bytes):
            raise ConvertError(f"an array filled from {type(content).__name__}; expected bytes")
        count = 1
        for size in shape:
            count *= int(size)
        width = kind.torch.itemsize
        if any(int(size) < 0 for size in shape) or count * width != len(content):
            raise ConvertError(f"an array of shape {shape} from {len(content)} bytes; expected {count * width}")
        # bytearray: torch wants memory that may be written to
        flat = torch.frombuffer(bytearray(content), dtype=kind.torch) if content else torch.empty(0, dtype=kind.torch)
        self.tensor = flat.reshape([int(size) for size in shape])


def new_array(subtype: object, shape: object, code: object) -> PlainArray:
    return PlainArray()  # whatever shape is asked for: the state brings the true one


def from_buffer(content: object, kind: object, shape: tuple[int, ...], order: str) -> PlainArray:
    """How Python 3 writes an array with protocol 5."""
    array = PlainArray()
    array.__setstate__((1, shape, kind, order == "F", bytes(content) if isinstance(content, bytearray) else content))
    return array


def scalar(kind: object, content: object = None) -> Blank:
    return Blank()  # lr and model_iter


def encode(text: str, encoding: str = "latin1") -> bytes:
    """How Python 3 writes bytes into a protocol-2 pickle."""
    return text.encode("latin1")


def no_bytes() -> bytes:
    """How Python 3 writes no bytes, of an empty array, into a protocol-2 pickle."""
    return b""


TYPES = {
    "f2": torch.float16,
    "f4": torch.float32,
    "f8": torch.float64,
    "i4": torch.int32,
    "i8": torch.int64,
    "u1": torch.uint8,
    "b1": torch.bool,
}


class Fixed:
    """A function that a pickle may call and cannot change: BUILD would set the attributes of a plain one."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    def __setstate__(self, state: object) -> None:
        raise ConvertError("the pickle sets the state of something that is no array")


ADMITTED: dict[str, Any] = {
    "numpy.ndarray": PlainArray,
    "numpy.dtype": PlainType,
    "_codecs.encode": Fixed(encode),
    "__builtin__.bytes": Fixed(no_bytes),
    **{f"{module}.multiarray._reconstruct": Fixed(new_array) for module in NUMPY},
    **{f"{module}.multiarray.scalar": Fixed(scalar) for module in NUMPY},
    **{f"{module}.numeric._frombuffer": Fixed(from_buffer) for module in NUMPY},
}
READERS = {"torch zip": read_torch_zip, "torch legacy": read_torch_legacy, "pickle": read_caffe2}


def named_tensors(path: Path, content: Any) -> Checkpoint:
    """The dict of weights inside a checkpoint, checked: plain tensors that own all the memory they claim."""
    if not isinstance(content, dict):
        raise ConvertError(f"{path}: holds a {type(content).__name__}; expected a dict of weights")
    content = {text(key): value for key, value in content.items()}
    holder = next((key for key in WEIGHT_KEYS if isinstance(content.get(key), dict)), None)
    inner = content if holder is None else {text(key): value for key, value in content[holder].items()}
    tensors = {key: as_tensor(value) for key, value in inner.items()}
    found = {key: value for key, value in tensors.items() if value is not None}
    if not found:
        raise ConvertError(f"{path}: no weights under {', '.join(WEIGHT_KEYS)}; its keys are {shown(content)}")
    beside = {} if holder is None else {key: value for key, value in content.items() if key != holder}
    others = [(key, value) for key, value in (*inner.items(), *beside.items()) if key not in found or key in beside]
    total = 0
    for key, value in found.items():
        size = value.numel() * value.element_size()
        if value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            raise ConvertError(f"{path}: {key!r} is no plain tensor (layout {value.layout}, device {value.device})")
        if size > value.untyped_storage().nbytes():  # an expanded view: small in the file, huge in memory
            raise ConvertError(f"{path}: {key!r} claims {size} bytes and has {value.untyped_storage().nbytes()}")
        total += size
    check_size(path, total)
    return Checkpoint(found, tuple((key, f"no weight: {type(value).__name__}") for key, value in others))


def as_tensor(value: Any) -> Tensor | None:
    """The tensor of an entry; None for entries that hold something else (counters, names)."""
    if isinstance(value, PlainArray):
        return value.tensor
    return value.detach() if isinstance(value, Tensor) else None


def text(key: Any) -> str:
    """A name; what is none is not written out, as it may be of any size."""
    if isinstance(key, bytes):
        return key.decode("latin1")
    return key if isinstance(key, str) else f"({type(key).__name__})"


def shown(content: dict[str, Any]) -> str:
    names = [f"{name:.60}" for name in list(content)[:8]]
    return ", ".join(map(repr, names)) + (f" and {len(content) - 8} more" if len(content) > 8 else "")
