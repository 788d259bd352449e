"""Reports as pages of HTML that need no other file and run nothing. Names from files are text in them."""

from __future__ import annotations

import base64
import csv
import io
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path

from torch import Tensor

from slowfast_hub.zoo.save import whole_file

THUMBNAIL = 160  # px, the longer side of small pictures

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>{title}</title>
<style>
body {{ font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; color: #222 }}
table {{ border-collapse: collapse }}
td, th {{ border-bottom: 1px solid #ddd; padding: .2em .8em; text-align: left; vertical-align: top }}
img, svg {{ max-width: 100% }}
pre {{ background: #f4f4f4; padding: 1em; overflow-x: auto }}
td {{ overflow-wrap: anywhere }}
</style>
</head>
<body>
<h1>{title}</h1>
{body}
</body>
</html>
"""


def page(title: str, parts: Iterable[str]) -> str:
    """A page of parts that are HTML; `title` is text."""
    return PAGE.format(title=escape(title), body="\n".join(parts))


def html_table(head: Sequence[str], rows: Sequence[Sequence[str]], pictures: Sequence[str] = ()) -> str:
    """Rows of text; `pictures` are HTML of ours, a first cell for each row."""
    titles = "<th></th>" * bool(pictures) + "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{titles}</tr>"] if titles else []
    for number, row in enumerate(rows):
        first = f"<td>{pictures[number]}</td>" if pictures else ""
        lines.append(f"<tr>{first}" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>"


def image(kind: str, data: bytes) -> str:
    return f'<img alt="" src="data:{kind};base64,{base64.b64encode(data).decode("ascii")}">'


def write_text(path: Path, text: str) -> None:
    """A whole file; bytes of a name that are no text are written as escapes."""
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace", newline="")


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def printable(text: str) -> str:
    """Without what a name could do to a terminal."""
    return "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)


def jpeg(frame: Tensor) -> bytes:
    """A frame (H, W, 3) uint8 as a small picture."""
    from PIL import Image

    picture, file = Image.fromarray(frame.numpy()), io.BytesIO()
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    picture.save(file, "JPEG", quality=80)
    return file.getvalue()
