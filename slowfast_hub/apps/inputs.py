"""Folders of videos, as the commands that take them find what is inside."""

from __future__ import annotations

import os
from pathlib import Path

from slowfast_hub.apps.console import err


def find_videos(folder: Path) -> list[Path]:
    """The videos in a folder and in those below it, sorted; ValueError if there are none, OSError if it has no access.

    Names that begin with a dot are left out, and links to folders are named and not followed.
    """
    from slowfast_hub.video.reader import VIDEO_SUFFIXES

    def stop(error: OSError) -> None:
        raise error

    videos = []
    for where, folders, names in os.walk(folder, onerror=stop):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for link in (path for path in (Path(where, name) for name in folders) if path.is_symlink()):
            err.print(f"not followed: {link} is a link", highlight=False, markup=False, soft_wrap=True)
        shown = (name for name in names if not name.startswith("."))
        videos += [Path(where, name) for name in shown if Path(name).suffix.lower() in VIDEO_SUFFIXES]
    if not videos:
        raise ValueError(f"{folder}: no videos; expected files that end in one of {', '.join(sorted(VIDEO_SUFFIXES))}")
    return sorted(videos)
