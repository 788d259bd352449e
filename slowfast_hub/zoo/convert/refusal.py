"""The one error of this room."""

from __future__ import annotations

import pickle
import struct
import tarfile
import zipfile
import zlib

from slowfast_hub.zoo.load import LoadError


class ConvertError(LoadError):
    """A checkpoint that cannot be opened safely, or whose tensors do not fit."""


# What the readers of torch and the standard library raise for bytes that end too early or make no sense.
DAMAGED = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
