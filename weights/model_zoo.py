"""MODEL_ZOO.md from the manifest: python weights/model_zoo.py > MODEL_ZOO.md"""

from __future__ import annotations

import sys
from dataclasses import replace
from functools import cache

from slowfast_hub.models.count import Size, count
from slowfast_hub.spec import Arch, ClipSpec, WeightsInfo
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes
from slowfast_hub.zoo.registry import ARCHS, find_arch, override

HEAD = """# Model zoo

Written by `weights/model_zoo.py` from `slowfast_hub/zoo/manifest.json`; do not edit it by hand.

{published} published files of weights and {own} of this project's own, for {rows} networks. A name is a network and
a tag, `create_model("slowfast_r50_8x8.fair_k400", pretrained=True)`; without a tag it is the first one listed here, the
one with the best reported top-1. Sources: `fair` PySlowFast, `ptv` PyTorchVideo, `mm` MMAction2 (`v0`: its 0.x),
`gluon` GluonCV, `hub` this project.

* **Parameters** (millions, batch norm included) and **multiply-adds** (G, one view) are counted on the built network.
* **Clip**: frames x stride on its clock (`30 fps`, or `native`: the file's own frames), short side / crop in px.
* **Reported** figures are the original project's, with the views (clips x crops) they were measured with; "not said"
  where the project does not say. **Measured** figures are this project's; an empty cell is not done yet.
* The weights come under the licence of the original project's repository; none states one for the weights alone, and
  terms of the training data apply separately ([NOTICE](NOTICE)).
"""


@cache
def size_of(arch: Arch) -> Size:
    return count(arch)


def arch_of(info: WeightsInfo) -> Arch:
    return override(info.arch, find_arch(info.arch), arch_changes(info))


def sizes(info: WeightsInfo) -> tuple[str, str]:
    """Parameters and multiply-adds; what does not change them is left out of what is counted, so that few are."""
    arch = arch_of(info)
    plain = ClipSpec(frames=arch.clip.frames, short_side=arch.clip.crop, crop=arch.clip.crop)
    same: dict[str, object] = {"slow_rule": "strided"} if hasattr(arch, "slow_rule") else {}
    size = size_of(replace(arch, clip=plain, pool="global", activation="softmax", **same))
    return f"{size.parameters / 1e6:.2f}", f"{size.multiply_adds / 1e9:.1f}"


def clip_text(clip: ClipSpec) -> str:
    clock = "native" if clip.fps is None else f"{clip.fps:g} fps"
    frames = f"{clip.frames} segments" if clip.sampling == "segments" else f"{clip.frames} x {clip.stride}"
    return f"{frames}, {clock}, {clip.short_side} / {clip.crop}"


def reported_text(info: WeightsInfo) -> str:
    reported = info.reported
    if reported is None:
        return "-"
    text = ", ".join(f"{name} {value:g}" for name, value in reported.figures.items())
    return f"{reported.dataset}: {text} ({reported.views or 'views not said'})"


def measured_text(info: WeightsInfo) -> str:
    if info.measured is None:
        return ""
    parts = [f"{name} {part['top1']}" for name, part in info.measured.items() if isinstance(part, dict)]
    return f"top-1: {', '.join(parts)} ({info.measured['views']})"


def source_text(info: WeightsInfo) -> str:
    origin = info.origin
    return f"[{origin.source}]({origin.url})" if origin.url else origin.source


def rows() -> list[str]:
    lines = []
    for info in WEIGHTS().values():
        parameters, multiply_adds = sizes(info)
        cells = (
            f"`{info.name}`",
            parameters,
            multiply_adds,
            clip_text(info.clip),
            reported_text(info),
            measured_text(info),
            info.origin.license,
            source_text(info) + (f". {info.origin.note}" if info.origin.note else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def page() -> str:
    published = sum(info.origin.url is not None for info in WEIGHTS().values())
    head = HEAD.format(published=published, own=len(WEIGHTS()) - published, rows=len(ARCHS))
    without = [row for row in ARCHS if not any(info.arch == row for info in WEIGHTS().values())]
    titles = "| name | params (M) | G | clip | reported | measured | licence | source |"
    table = "\n".join([titles, "|---|---|---|---|---|---|---|---|", *rows()])
    rest = ", ".join(f"`{row}`" for row in without)
    return f"{head}\n{table}\n\nNetworks that nobody has published weights for: {rest}.\n"


if __name__ == "__main__":
    sys.stdout.write(page())
