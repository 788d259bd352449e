"""From a file to clips: this package, PyTorchVideo's own road, and plain PyAV loops, on the same files in one run.

    pip install -e .[bench] && python benchmarks/video.py

Each figure is the median of fresh processes; memory is their peak above what they have after their imports. The files
are made here: a moving pattern, H.264 as x264 makes it by default.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from measure import Figures, machine, measured, write_video

SPAN_S = 64 / 30  # of 32 frames at stride 2 on the 30 fps clock

# pytorchvideo 0.1.5 (its last release) imports a module that torchvision has removed; the first line puts it back. The
# rest is the recipe of its published inference example (tutorials/torchhub_inference_tutorial.ipynb).
THEIRS = """
import sys, torchvision.transforms.functional as F; sys.modules["torchvision.transforms.functional_tensor"] = F
import torch
from pytorchvideo.data.encoded_video import EncodedVideo
from pytorchvideo.transforms import ApplyTransformToKey, ShortSideScale, UniformTemporalSubsample
from pytorchvideo.transforms.functional import uniform_crop
from torchvision.transforms import Compose, Lambda
from torchvision.transforms._transforms_video import NormalizeVideo
transform = ApplyTransformToKey("video", Compose([
    UniformTemporalSubsample(32), Lambda(lambda x: x / 255.0),
    NormalizeVideo([0.45] * 3, [0.225] * 3), ShortSideScale(256)]))
def clip(video, start):
    return transform(video.get_clip(start_sec=start, end_sec=start + 64 / 30))["video"]
"""
OURS = """
import torch
from slowfast_hub.predict.clips import batches_of, stream_clips
from slowfast_hub.predict.views import plan_views
from slowfast_hub.spec import ClipSpec, SlowFastArch
from slowfast_hub.transforms.eval import EvalTransform
from slowfast_hub.video.reader import open_video
from slowfast_hub.video.sampling import clip_indices, start_at
arch = SlowFastArch(ClipSpec(32, 2))
transform = EvalTransform(arch.clip)
def clip(path, start):
    reader = open_video(path)
    indices = clip_indices(reader.info, arch.clip, start=start_at(reader.info, arch.clip, start))
    return next(stream_clips(reader, transform, indices[None]))
def views(path, kind):
    reader = open_video(path)
    plan = plan_views(reader.info, arch, kind)
    for batch in batches_of(reader, transform, plan.indices, plan.crops, size=3, device=torch.device("cpu")):
        pass
"""
# A loop that knows everything beforehand: it seeks, decodes up to the clip's end, and converts the 32 frames alone.
PLAIN = """
import av, torch
def clip(path, start):
    places = torch.linspace(0, 63, 32).long().tolist()
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if start:
            container.seek(int(start / stream.time_base), stream=stream)
        for frame in container.decode(stream):
            place = round((frame.pts * stream.time_base - start) * 30)
            if place in places:
                picture = torch.from_numpy(frame.to_ndarray(format="rgb24")).permute(2, 0, 1)[None].float()
                size = (256, picture.shape[3] * 256 // picture.shape[2])
                picture = torch.nn.functional.interpolate(picture, size, mode="bilinear", align_corners=False)
                frames.append((picture / 255 - 0.45) / 0.225)
            if place >= 63:
                return torch.stack(frames, 2)
"""
# All frames to RGB, one after the other: PyAV's documented way, and the fastest loop that its interface allows.
SEQUENTIAL = {
    "PyAV, to_ndarray of every frame": (
        "import av",
        """
with av.open({path!r}) as container:
    container.streams.video[0].thread_type = "AUTO"
    for frame in container.decode(video=0):
        picture = frame.to_ndarray(format="rgb24")
""",
    ),
    "PyAV, one reformatter for all frames": (
        "import av; from av.video.reformatter import VideoReformatter",
        """
convert = VideoReformatter()
with av.open({path!r}) as container:
    container.streams.video[0].thread_type = "AUTO"
    for frame in container.decode(video=0):
        picture = convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
""",
    ),
    "slowfast_hub, an open reader": (
        OURS + "\nreader = open_video({path!r})",
        "for frame in reader.stream(range(reader.info.frames)): pass",
    ),
    "slowfast_hub, the walk over the packets included": (
        OURS,
        "reader = open_video({path!r})\nfor frame in reader.stream(range(reader.info.frames)): pass",
    ),
}


def pictures(count: int, height: int, width: int) -> Iterator[np.ndarray]:
    """A textured ground that moves one way, and a square that moves another."""
    ground = np.random.default_rng(0).integers(0, 256, (height // 8 + 64, width // 8 + 64, 3), np.uint8)
    ground = ground.repeat(8, 0).repeat(8, 1)
    side = height // 6
    for k in range(count):
        picture = ground[3 * k % 400 :, 5 * k % 400 :][:height, :width].copy()
        left = 11 * k % (width - side)
        picture[height // 3 : height // 3 + side, left : left + side] = (3 * k % 256, 255 - k % 256, 128)
        yield picture


def table(title: str, found: dict[str, Figures], *, against: str) -> None:
    print(f"\n{title}\n\n| | seconds | times faster | peak MB | of its memory |\n|---|---|---|---|---|")
    base = found[against]
    for name, (seconds, megabytes) in found.items():
        faster, share = base.seconds / seconds, megabytes / base.megabytes
        print(f"| {name} | {seconds:.3f} | {faster:.1f} | {megabytes:.0f} | {share:.3f} |")


def clip_works(path: str, start: float) -> dict[str, tuple[str, str]]:
    return {
        "pytorchvideo 0.1.5": (THEIRS, f"clip(EncodedVideo.from_path({path!r}, decode_audio=False), {start})"),
        "a plain loop for these 32 frames": (PLAIN, f"clip({path!r}, {start})"),
        "slowfast_hub": (OURS, f"clip({path!r}, {start})"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--minutes", type=int, default=10, help="length of the 720p file")
    parser.add_argument("--folder", type=Path, help="where the files are kept for the next run")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "1080p.mp4": (300, 1080, 1920, "medium"),
        f"720p_{arguments.minutes}min.mp4": (1800 * arguments.minutes, 720, 1280, "veryfast"),
        "340x256.mp4": (300, 256, 340, "medium"),
    }
    for name, (count, height, width, preset) in files.items():
        if not (folder / name).exists():
            write_video(folder / name, pictures(count, height, width), options={"crf": "23", "preset": preset})
    large, long, small = (str(folder / name) for name in files)
    print(machine())
    theirs, repeats = "pytorchvideo 0.1.5", arguments.repeats
    table("One clip from the start of a 10 s 1080p file", measured(clip_works(large, 0), repeats), against=theirs)
    middle = 30 * arguments.minutes
    table(f"One clip from the middle of a {arguments.minutes} min 720p file, GOP 250",
          measured(clip_works(long, middle), repeats), against=theirs)  # fmt: skip
    thirty = {
        theirs: (
            THEIRS,
            f"video = EncodedVideo.from_path({small!r}, decode_audio=False)\n"
            "for i in range(10):\n"
            "    whole = clip(video, (10 - 64 / 30) * i / 10)\n"
            "    torch.stack([uniform_crop(whole, 256, where) for where in (0, 1, 2)])",
        ),
        "slowfast_hub, 30 views": (OURS, f"views({small!r}, (10, 3))"),
        "slowfast_hub, 90 views": (OURS, f"views({small!r}, (30, 3))"),
        "slowfast_hub, dense": (OURS, f"views({small!r}, 'dense')"),
    }
    table("30 views of a 10 s 340x256 file, batches of three crops", measured(thirty, repeats), against=theirs)
    for name, path in (("340x256", small), ("1080p", large)):
        works = {
            key: (imports.replace("{path!r}", repr(path)), work.format(path=path))
            for key, (imports, work) in SEQUENTIAL.items()
        }
        table(f"300 frames of {name}, one after the other", measured(works, repeats), against=next(iter(works)))


if __name__ == "__main__":
    main()
