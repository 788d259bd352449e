"""Renders `examples/clip.mp4`: a drawn figure doing jumping jacks, so that the examples need no footage of anybody.

python examples/make_clip.py
"""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "weights" / "embedded"))

import render  # noqa: E402  (a plain module next to the weights it pre-trains, not part of the package)

LABEL = "jack"
SEED = 9
WIDTH, HEIGHT = 320, 240
FPS, SECONDS = 30, 4


def encode(video: np.ndarray, path: Path, fps: int) -> None:
    """Writes (T, H, W, 3) uint8 RGB as H.264, yuv420p; one thread, so the bytes do not depend on the machine."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20", "preset": "slow", "threads": "1"})
        stream.height, stream.width = video.shape[1:3]
        stream.pix_fmt = "yuv420p"
        for picture in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))


def main() -> None:
    """Renders and writes the clip next to this file."""
    rng = np.random.default_rng(SEED)
    video = render.render_clip(
        LABEL, rng, frames=FPS * SECONDS, fps=FPS, height=HEIGHT, width=WIDTH, aspect=WIDTH / HEIGHT
    )
    path = HERE / "clip.mp4"
    encode(video, path, FPS)
    sys.stdout.write(f"{path.name}: {len(video)} frames, {path.stat().st_size // 1024} KiB\n")


if __name__ == "__main__":
    main()
