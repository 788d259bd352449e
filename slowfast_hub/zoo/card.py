"""What a Hugging Face repository says of a network to other readers: README.md and the common words of config.json.

Figures come from one list, so the table and the front matter (`model-index`) cannot differ. What the original project
reports and what this project measured are two entries of it, never one.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

from torch import nn

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import WeightsInfo
from slowfast_hub.zoo.describe import Description, family, to_json

TASK = "video-classification"  # the Hub has no task for detection of actions; a tag says it
METRICS = {
    "top1": ("accuracy", "top-1 (%)"),
    "top5": ("accuracy", "top-5 (%)"),
    "mean_ap": ("mean_average_precision", "mAP (%)"),
}
REPORTED = "reported by the original project"
MEASURED = "measured by slowfast_hub"
# The Hub's words for a licence, of those that weights come with; any other is "other" and its own name.
LICENSES = ("apache-2.0", "mit", "bsd-3-clause", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0")


@dataclass(frozen=True)
class Figure:
    """One number and whose it is."""

    whose: str
    dataset: str
    key: str  # of METRICS
    value: object
    how: dict[str, object]  # views, source, split, part of the data: as far as they are recorded


def to_config(model: VideoModel, description: Description) -> dict[str, Any]:
    """config.json: timm's words, transformers' words, and the description that is read back."""
    arch, clip = description.arch, description.arch.clip
    row, _, tag = description.name.partition(".")
    convs = [key for key, module in model.named_modules() if isinstance(module, nn.Conv3d) and ".stem." in key]
    pretrained_cfg = {
        "tag": tag or None,
        "input_size": (arch.in_chans, clip.frames, clip.crop, clip.crop),
        "interpolation": "bilinear",
        "crop_pct": clip.crop / clip.short_side,
        "mean": clip.mean,
        "std": clip.std,
        "num_classes": arch.num_classes,
        "first_conv": convs,
        "classifier": "head.fc",
        "license": description.origin.get("license"),
        "origin_url": description.origin.get("url"),
    }
    labels = {
        "id2label": {str(index): label for index, label in enumerate(description.labels)},
        "label2id": {label: index for index, label in enumerate(description.labels)},
    }
    kind = "multi" if arch.activation == "sigmoid" else "single"
    return {
        "architectures": [family(arch)],
        "library_name": "slowfast_hub",
        "architecture": row,
        "num_classes": arch.num_classes,
        "num_features": model.num_features,
        "num_frames": clip.frames,
        "problem_type": f"{kind}_label_classification",
        "model_args": asdict(arch),
        "pretrained_cfg": {key: value for key, value in pretrained_cfg.items() if value is not None},
        **(labels if description.labels else {}),
        "slowfast_hub": to_json(description),
    }


def model_card(description: Description, info: WeightsInfo | None = None, repo: str | None = None) -> str:
    """README.md with its front matter. info: the record of published weights. repo: "org/name" if it is known."""
    from huggingface_hub import EvalResult, ModelCardData

    found = figures(info) if info is not None else []
    terms = description.origin.get("license", "").strip()
    license, license_name = license_words(terms) if terms else (None, None)
    results = [
        EvalResult(
            task_type=TASK,
            dataset_type=figure.dataset,
            dataset_name=figure.dataset,
            dataset_config=figure.whose,  # the Hub merges entries of one data set that agree in this
            metric_type=METRICS[figure.key][0],
            metric_value=figure.value,
            metric_name=METRICS[figure.key][1],
            metric_args=figure.how,
        )
        for figure in found
    ]
    data = ModelCardData(
        license=license,
        license_name=license_name,
        library_name="slowfast_hub",
        pipeline_tag=TASK,
        tags=["slowfast", "video", "action-detection" if description.arch.roi else "action-recognition"],
        datasets=[info.reported.dataset] if info is not None and info.reported else None,
        metrics=sorted({result.metric_type for result in results}) or None,
        model_name=title_of(description),
        eval_results=results or None,
    )
    text = [introduction(description, repo), figure_table(found), origin_lines(description.origin)]
    if not found and "val" in description.origin:  # where the figure of a training run stands
        del text[1]
    return f"---\n{data.to_yaml()}\n---\n\n" + "\n\n".join(text) + "\n"


def title_of(description: Description) -> str:
    """The name; of a network that was made of another by changes, that of the other."""
    made_of = description.origin.get("network")
    return f"{made_of}, changed" if made_of and description.name == "custom" else description.name


def license_words(text: str) -> tuple[str, str | None]:
    """A licence as the Hub's `license` and `license_name`. The first word decides: the rest of a record is a remark."""
    first = text.split()[0].strip(",;:()").lower()
    if first in LICENSES:
        return first, None
    return "other", re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-") or None


def figures(info: WeightsInfo) -> list[Figure]:
    """Every recorded figure, theirs before ours; a nested part of `measured` is a figure for a part of the data."""
    found = []
    if info.reported is not None:
        how: dict[str, object] = {"views": info.reported.views, "source": info.reported.source}
        found += figures_in(asdict(info.reported), REPORTED, info.reported.dataset, how)
    ours = info.measured or {}
    dataset = info.reported.dataset if info.reported else info.labels if isinstance(info.labels, str) else info.name
    for part, values in {"": ours, **ours}.items():
        if isinstance(values, dict):
            how = {"views": ours.get("views"), "split": ours.get("split"), "part": part or None}
            found += figures_in(values, MEASURED, dataset, how)
    return found


def figures_in(values: dict[str, object], whose: str, dataset: str, how: dict[str, object]) -> list[Figure]:
    known = {key: value for key, value in how.items() if value is not None}
    return [Figure(whose, dataset, key, values[key], known) for key in METRICS if values.get(key) is not None]


def introduction(description: Description, repo: str | None) -> str:
    arch, clip = description.arch, description.arch.clip
    clock = "frames of the file" if clip.fps is None else f"ticks of a {clip.fps:g} fps clock"
    spread = (
        "one of each equal part of the video" if clip.sampling == "segments" else f"one every {clip.stride} {clock}"
    )
    boxes, use = "", ""
    if arch.roi:
        boxes = " and boxes `rois (N, 5)`, for each of which it gives logits"
        use = "\n`slowfast_hub.Detector(model)` says who does what in a video.\n"
    classes = f"{arch.num_classes}" + (", named in `config.json`" if description.labels else "")
    return f"""# {title_of(description)}

A {family(arch)} network for the Python package `slowfast_hub`.

```python
from slowfast_hub import from_pretrained

model = from_pretrained("{repo or "path/to/this/folder"}")
```

`model` takes batches of clips `({arch.in_chans}, {clip.frames}, {clip.crop}, {clip.crop})`{boxes}. `model.arch.clip` is
the recipe below, `model.labels` are the classes.
{use}
| | |
|---|---|
| classes | {classes} |
| scores | {arch.activation} of the logits |
| clip | {clip.frames} frames, {spread} |
| size | short side {clip.short_side} px, {clip.crop} x {clip.crop} px, {clip.fit} |
| mean, std | {clip.mean}, {clip.std} of values in 0..1 |"""


def figure_table(found: list[Figure]) -> str:
    rows = [
        f"| {figure.whose} | {figure.dataset} | {METRICS[figure.key][1]} | {figure.value} "
        f"| {', '.join(f'{key}: {value}' for key, value in figure.how.items())} |"
        for figure in found
    ]
    head = ["| whose | data | figure | value | how |", "|---|---|---|---|---|"]
    return "## Figures\n\n" + ("\n".join(head + rows) if rows else "None are recorded.")


def origin_lines(origin: dict[str, str]) -> str:
    lines = [f"* {key}: {value}" for key, value in origin.items()]
    return "## Origin and licence\n\n" + ("\n".join(lines) if lines else "Not recorded.")
