"""From a record to a file on this disk. Today every recorded file ships in the package."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

from slowfast_hub.spec import WeightsInfo


def weights_path(info: WeightsInfo) -> Path:
    """Where the safetensors of `info` lie; LookupError when the file is not in the package."""
    # as_file of a file in a directory is that file: torch.hub, wheels and editable installs all unpack the package.
    with as_file(files("slowfast_hub") / "zoo" / "embedded" / info.file) as path:
        if not path.is_file():
            raise LookupError(f"{info.name}: {info.file} is missing from the package; install slowfast-hub again")
        return path
