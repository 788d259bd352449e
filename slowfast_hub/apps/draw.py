"""People and what they do, drawn on pictures: a box each, and a dark plate with who it is, actions and scores.

Between two moments at which a network looked, the nearer one says who is there and what they do, and the boxes of those
who are in both move on a straight line.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from slowfast_hub.spec import Detection, Limits

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFont import FreeTypeFont, ImageFont
    from torch import Tensor

    from slowfast_hub.video.reader import Video, VideoReader

    Font = FreeTypeFont | ImageFont

SMALLEST = 11  # px of letters
LETTERS = 40  # in the height of a picture: 27 px at 1080p
MOST_PLATES = 50  # on a picture: with more nothing else would be seen
LONGEST = 200  # letters of a label that are looked at: labels come with files of weights, from anyone
# Of boxes, by id: colours that are told apart on film and by the colour-blind (Okabe and Ito, 2008; lightened).
COLOURS = ("#f5b324", "#66c2f5", "#2ecc96", "#f0e442", "#f2855c", "#e38fbf", "#5c9eff", "#ffffff")
PLATE, TEXT = (0, 0, 0, 190), "white"
ONE_SEEK = 64  # frames between keyframes: what a player decodes, at most, to jump somewhere
PICTURES = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG"}

Actions = tuple[tuple[str, float], ...]  # labels and scores, best first
Rectangle = tuple[float, float, float, float]  # x1, y1, x2, y2 in px


@dataclass(frozen=True)
class Captioned:
    """A person on a picture."""

    box: Rectangle
    person: int
    called: str
    actions: Actions


def captioned(detection: Detection, *, top_k: int, score: float) -> list[Captioned]:
    """The people of a moment with their best actions: at most `top_k`, and none below `score`."""
    ids = detection.ids.tolist()
    names = detection.names or [f"#{person}" for person in ids]
    return [
        Captioned(
            (box[0], box[1], box[2], box[3]),
            person,
            called,
            tuple((str(row["label"]), float(row["score"])) for row in best if float(row["score"]) >= score),
        )
        for person, called, box, best in zip(ids, names, detection.boxes.tolist(), detection.top(top_k))
    ]


def draw_people(picture: Tensor, people: Sequence[Captioned]) -> Tensor:
    """A copy of a picture (H, W, 3) uint8 RGB with people on it; letters are 1/40 of its height, and at least 11 px."""
    import torch
    from PIL import Image, ImageDraw

    height, width = picture.shape[:2]
    image = Image.fromarray(picture.numpy())
    draw = ImageDraw.Draw(image)
    for person in people:
        draw.rectangle(person.box, outline=colour_of(person.person), width=max(2, height // 360))
    taken: list[Rectangle] = []
    for person in people[:MOST_PLATES]:
        plate = plate_of(person.person, person.called, person.actions, (width, height))
        boxes = [each.box for each in people[:MOST_PLATES]]
        taken.append(place(person.box, plate.size, taken, boxes, (width, height)))
        image.paste(plate, (round(taken[-1][0]), round(taken[-1][1])), mask=plate)
    return torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8).view(height, width, 3)


@lru_cache(maxsize=32)  # the same on all pictures until the next moment
def plate_of(person: int, called: str, actions: Actions, picture: tuple[int, int]) -> Image:
    """Who it is and the actions, on a plate for a picture of this width and height; its rim is coloured as the box."""
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.load_default(max(SMALLEST, picture[1] // LETTERS))
    pad = max(2, picture[1] // 270)
    above, below = font.getbbox("Ag(")[1::2]
    row = below + above // 2
    fitting = max(1, int((picture[1] - 2 * pad) // row))
    texts = lines_of(called, actions[:fitting], font, picture[0] - 4 * pad)
    size = ceil(max(map(font.getlength, texts))) + 4 * pad, ceil(row * len(texts)) + 2 * pad
    plate = Image.new("RGBA", size, PLATE)
    draw = ImageDraw.Draw(plate)
    draw.rectangle((0, 0, pad, size[1]), fill=colour_of(person))
    for number, text in enumerate(texts):
        draw.text((3 * pad, pad + number * row), text, fill=TEXT, font=font)
    return plate


def colour_of(person: int) -> str:
    return COLOURS[person % len(COLOURS)]


def lines_of(called: str, actions: Actions, font: Font, width: float) -> list[str]:
    """Who it is, and each action with its score, cut so that a line has `width` px."""
    labels = [" ".join(label[:LONGEST].split()) for label, _ in actions] or [""]
    labels[0] = f"{' '.join(called[:LONGEST].split())}: {labels[0]}" if actions else " ".join(called[:LONGEST].split())
    ends = [f" {score:.2f}" for _, score in actions] or [""]
    return [cut(label, end, font, width) for label, end in zip(labels, ends)]


def cut(text: str, end: str, font: Font, width: float) -> str:
    """`text` and `end`, with so much of the text left out that both fit."""
    kept = text
    while kept and font.getlength(f"{kept}{end}") > width:
        kept = f"{kept.removesuffix('...')[:-1]}..." if len(kept) > 4 else ""
    return f"{kept}{end}"


def place(
    box: Rectangle,
    size: tuple[float, float],
    plates: Sequence[Rectangle],
    boxes: Sequence[Rectangle],
    picture: tuple[float, float],
) -> Rectangle:
    """Where a plate of `size` (width, height) goes: inside the picture, off other plates, off people, near its box.

    Above, below, beside or in the box, in this order where it makes no difference; where plates are everywhere,
    under or over one of them. What is hidden of people counts in halves of the plate, so that plates do not jump while
    people move a little.
    """
    (x1, y1, x2, y2), (wide, high) = box, size
    near = [(x1, y1 - high), (x1, y2), (x2, y1), (x1 - wide, y1), (x1, y1), (x1, y2 - high)]
    far = [(x1, y) for plate in plates for y in (plate[3] + 1, plate[1] - 1 - high)]

    def cost(corner: tuple[float, float]) -> tuple[float, bool, int]:
        plate = rectangle(corner)
        hidden = sum(overlap(plate, each) for each in boxes) / (wide * high)
        return sum(overlap(plate, each) for each in plates), corner in far, round(2 * hidden)

    def rectangle(corner: tuple[float, float]) -> Rectangle:
        """The plate at this corner, moved into the picture."""
        x, y = (max(0.0, min(at, most - 1 - side)) for at, most, side in zip(corner, picture, size))
        return x, y, x + wide, y + high

    return rectangle(min([*near, *far], key=cost))


def overlap(one: Rectangle, other: Rectangle) -> float:
    """Square pixels that two rectangles share."""
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(0.0, wide) * max(0.0, high)


def between(
    detections: Iterable[Detection], times_s: Iterable[float], *, held_s: float, top_k: int, score: float
) -> Iterator[list[Captioned]]:
    """Who is to be drawn at each of `times_s`; both ascend, and a moment is asked for when its time comes."""
    coming = iter(detections)
    before: Detection | None = None
    after = next(coming, None)
    for time_s in times_s:
        while after is not None and after.at_s <= time_s:
            before, after = after, next(coming, None)
        both = before is not None and after is not None and after.at_s - before.at_s <= 2 * held_s
        known = [each for each in (before, after) if each is not None and (both or abs(each.at_s - time_s) <= held_s)]
        if not known:
            yield []
            continue
        nearest = min(known, key=lambda each: abs(each.at_s - time_s))
        people = captioned(nearest, top_k=top_k, score=score)
        yield people if len(known) < 2 else moved(people, *known, time_s=time_s)
    for _ in coming:  # the moments after the last frame are still moments of the video
        pass


def moved(people: Sequence[Captioned], before: Detection, after: Detection, *, time_s: float) -> list[Captioned]:
    """The people at a time between two moments, those who are in both on their way."""
    begins, ends = (dict(zip(each.ids.tolist(), each.boxes.tolist())) for each in (before, after))
    part = (time_s - before.at_s) / (after.at_s - before.at_s)

    def box_of(person: Captioned) -> Rectangle:
        if person.person not in begins or person.person not in ends:
            return person.box
        x1, y1, x2, y2 = (a + part * (b - a) for a, b in zip(begins[person.person], ends[person.person]))
        return x1, y1, x2, y2

    return [replace(person, box=box_of(person)) for person in people]


def write_annotated(
    video: Video,
    detections: Iterable[Detection],
    out: Path,
    *,
    held_s: float,
    top_k: int = 3,
    score: float = 0.0,
    fps: float | None = None,
    limits: Limits | None = None,
) -> None:
    """The video with people drawn on it, as an MP4 file (H.264, no sound), whole or not there.

    detections: in the order of time; each is asked for when its time comes, so memory does not grow with the length.
    held_s: how far from a moment what was seen there is still shown; between two that are at most twice that apart, all
        the time.
    Of a picture with odd sides the last row or column is left out. Errors: VideoError.
    """
    from slowfast_hub.video.encode import write_mp4
    from slowfast_hub.video.reader import open_video
    from slowfast_hub.zoo.save import whole_file

    reader = open_video(video, fps=fps, limits=limits)
    info, times_s = reader.info, times_of(reader)
    height, width = info.height - info.height % 2, info.width - info.width % 2
    people = between(detections, times_s.tolist(), held_s=held_s, top_k=top_k, score=score)
    pictures = (
        draw_people(picture[:height, :width], here)
        for here, picture in zip(people, reader.stream(range(info.frames)), strict=True)
    )
    with whole_file(out) as partial:
        shown_s = times_s - min(0.0, float(times_s[0]))  # MP4 shows nothing before 0
        write_mp4(
            partial,
            pictures,
            shown_s.numpy(),
            info=info,
            size=(height, width),
            gop=ONE_SEEK,
            crf=23,
            preset="veryfast",
        )


def times_of(reader: VideoReader) -> Tensor:
    """When each frame is shown: (frames,) float64, seconds of the file."""
    import torch

    return torch.tensor([reader.info.time_s(number) for number in range(reader.info.frames)], dtype=torch.float64)


def draw_moment(
    video: Video,
    detection: Detection,
    out: Path,
    *,
    top_k: int = 3,
    score: float = 0.0,
    fps: float | None = None,
    limits: Limits | None = None,
) -> None:
    """The picture of one moment with people drawn on it; out: a name with a suffix of PICTURES. Errors: VideoError."""
    from PIL import Image

    from slowfast_hub.spec import ClipSpec
    from slowfast_hub.video.reader import open_video, read_frames
    from slowfast_hub.video.sampling import centred_indices
    from slowfast_hub.zoo.save import whole_file

    reader = open_video(video, fps=fps, limits=limits)
    frame = centred_indices(reader.info, ClipSpec(frames=1, stride=1, fps=None), detection.at_s)
    picture = draw_people(read_frames(reader, frame)[0], captioned(detection, top_k=top_k, score=score))
    with whole_file(out) as partial:
        Image.fromarray(picture.numpy()).save(partial, format=PICTURES[out.suffix.lower()])
