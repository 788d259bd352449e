"""From a reader to clips that a network can see, on one pass over the video.

Each frame is decoded, resized and normalised once, whatever the number of clips and crops that share it, and dropped as
soon as no later clip needs it: memory does not grow with the number of views, nor with the length of the video.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from slowfast_hub.spec import VideoError
from slowfast_hub.transforms.eval import EvalTransform, Fitter, as_clip
from slowfast_hub.video.reader import VideoReader

Kept = TypeVar("Kept")


def batches_of(
    reader: VideoReader,
    transform: EvalTransform,
    indices: Tensor,
    crops: Sequence[str],
    *,
    size: int,
    device: torch.device,
) -> Iterator[Tensor]:
    """Every crop of every clip of `indices (clips, T)`, as batches `(size, 3, T, H, W)`; see `batches`."""
    clips = stream_clips(reader, transform, indices)
    return batches((transform.cropped(clip, crop=crop) for clip in clips for crop in crops), size, device)


def stream_clips(reader: VideoReader, transform: EvalTransform, indices: Tensor) -> Iterator[Tensor]:
    """The clips (3, T, H', W') of `indices (clips, T)`, resized and not yet cropped.

    Rows start in ascending order, and so do the numbers in a row; numbers may repeat. VideoError for pictures that
    cannot be had, and for strips so long that their short side cannot become what the network wants.
    """
    fitted_size(transform, reader.info.source, reader.info.height, reader.info.width)
    fit = Fitter(transform)
    for pictures in stream_rows(reader, indices, lambda number, frame: fit(frame)):
        yield as_clip(pictures)


def stream_rows(reader: VideoReader, indices: Tensor, keep: Callable[[int, Tensor], Kept]) -> Iterator[list[Kept]]:
    """For each row of `indices (clips, T)` what `keep` makes of its frames, called once for each number and frame."""
    wanted = torch.unique(indices).tolist()
    stream = zip(wanted, reader.stream(wanted), strict=True)
    held: dict[int, Kept] = {}
    for row in indices:
        numbers = row.tolist()
        while numbers[-1] not in held:
            number, frame = next(stream)
            held[number] = keep(number, frame)
        yield [held[number] for number in numbers]
        # Later clips start no earlier, so what lies before this start is done with.
        for number in [number for number in held if number < numbers[0]]:
            del held[number]


def fitted_size(transform: EvalTransform, source: str, height: int, width: int) -> tuple[int, int]:
    """Height and width of a video's resized pictures; VideoError for strips that would take gigabytes."""
    try:
        return transform.fitted_size(height, width)
    except ValueError as error:
        raise VideoError(source, str(error)) from error


def batches(clips: Iterable[Tensor], size: int, device: torch.device) -> Iterator[Tensor]:
    """Clips (3, T, H, W) of one shape as batches `(size, 3, T, H, W)` on `device`; the last may have fewer.

    In the layout that the networks are fastest in. On the CPU a batch lasts until the next one is asked for: all of
    them are made in the same memory.
    """
    together, count = torch.empty(0), 0
    for clip in clips:
        pixels = clip.permute(1, 2, 3, 0)
        if together.shape[1:] != pixels.shape:
            together = torch.empty(size, *pixels.shape)
        together[count].copy_(pixels)
        count += 1
        if count == size:
            yield upload(together, device).permute(0, 4, 1, 2, 3)
            count = 0
    if count:
        yield upload(together[:count], device).permute(0, 4, 1, 2, 3)


def upload(values: Tensor, device: torch.device) -> Tensor:
    """On a GPU from a copy in pinned memory, so that nobody waits for what the GPU is still doing."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


def fetched(results: Iterable[Tensor]) -> Iterator[Tensor]:
    """The results on the CPU, float32; of a GPU each once the next is under way, so that decoding goes on meanwhile."""
    waiting: Tensor | None = None
    for result in results:
        if waiting is not None:
            yield waiting.cpu()
        waiting = result.float()
        if waiting.device.type == "cpu":
            yield waiting
            waiting = None
    if waiting is not None:
        yield waiting.cpu()


def batch(clips: Sequence[Tensor], device: torch.device) -> Tensor:
    """These clips as one batch."""
    return next(batches(clips, len(clips), device))
