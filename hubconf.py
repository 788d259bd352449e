"""torch.hub entries: one per registered name, `predictor`, and `transform`.

    torch.hub.load("OWNER/REPO", "slowfast_r50_8x8", pretrained=False, num_classes=10, trust_repo=True)

torch.hub.list shows every callable without a leading underscore, so all else here has one.
"""

import re as _re
from collections.abc import Callable as _Callable
from pathlib import Path as _Path
from typing import Any as _Any

import slowfast_hub as _package

dependencies = ["torch", "safetensors"]  # imported for a network and its weights; `predictor` needs av and numpy too


def _check_not_shadowed() -> None:
    """A package of the same name that is installed, or imported before, wins over the checkout beside this file."""
    here = _Path(__file__).resolve().parent / "slowfast_hub"
    found = _Path(_package.__file__ or "nowhere").resolve().parent
    if found != here:
        match = _re.search(r'__version__ = "(.+?)"', (here / "__init__.py").read_text(encoding="utf-8"))
        raise RuntimeError(
            f"this hubconf.py belongs to slowfast_hub {match[1] if match else 'unknown'} in {here}, but Python "
            f"imported slowfast_hub {getattr(_package, '__version__', 'unknown')} from {found}; call torch.hub.load "
            "in a fresh Python that has not imported slowfast_hub, or pip uninstall slowfast-hub, or use the "
            "installed one: slowfast_hub.create_model(name)"
        )


_check_not_shadowed()

from slowfast_hub.zoo import create as _create  # noqa: E402 - only after the check is this the right one
from slowfast_hub.zoo import manifest as _manifest  # noqa: E402
from slowfast_hub.zoo import registry as _registry  # noqa: E402


def _line(name: str) -> str:
    """A file of weights and the figures that its makers report."""
    reported = _manifest.WEIGHTS()[name].reported
    if reported is None:
        return name
    text = ", ".join(f"{what} {value:g}" for what, value in reported.figures.items())
    return f"{name}: {text} on {reported.dataset}, views {reported.views or 'not said'} ({reported.source})"


def _entry(name: str) -> _Callable[..., _Any]:
    """The function torch.hub calls for `name`."""

    def entry(pretrained: bool | str = False, num_classes: int | None = None, **changes: _Any) -> _Any:
        full = f"{name}.{pretrained}" if isinstance(pretrained, str) else name
        return _create.create_model(full, pretrained=bool(pretrained), num_classes=num_classes, **changes)

    arch = _registry.ARCHS[name]
    clip = arch.clip
    tags = [tag for tag in _manifest.WEIGHTS() if tag.startswith(f"{name}.")]
    lines = "\n".join(f"        {_line(tag)}" for tag in tags) or "        nobody has published any"
    boxes = ", rois (N, 5) in pixels" if arch.roi else ""
    call = ", torch.tensor([[0, 40, 40, 90, 150.0]])" if arch.roi else ""
    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"""{name}: clips{boxes} in, logits out; in eval mode.

    Input (B, 3, T, H, W), float, RGB normalised with mean {clip.mean} and std {clip.std};
    made for T = {clip.frames} frames, every {clip.stride} at {clip.fps:g} fps, of {clip.crop} x {clip.crop} px.
    Output {"(N, num_classes) logits, a row for each box" if arch.roi else "(B, num_classes) logits"}.

    pretrained: load published weights; True for the first of these, a tag such as "fair_k400" for that one. A file
        brings a recipe and classes of its own: model.arch.clip, model.labels, and the entry `transform`.
{lines}
    num_classes: {arch.num_classes} when left out; another number makes a new classifier, 0 gives pooled features.
    changes: checkpoint_path (a safetensors file), or fields of the row such as dropout=0.0; unknown: TypeError.

    Example:
        model = torch.hub.load(repo, "{name}", num_classes=10)
        logits = model(torch.randn(1, 3, {clip.frames}, {clip.crop}, {clip.crop}){call})  # (1, 10)
    """
    return entry


def predictor(name: str = _registry.DEFAULT_MODEL, views: str = "centre", device: str | None = None) -> _Any:
    """A slowfast_hub.Predictor: a video in, labels and scores out. Needs av and numpy.

    Input: a path, a URL, bytes, or frames (T, H, W, 3) uint8; the network sees clips (B, 3, T, H, W) made from it.

    name: a network with recorded weights, `row` or `row.tag`; the small embedded one when left out.
    views: centre, paper (10 clips x 3 crops), or a pair such as "5x1".
    device: cpu, cuda, ...; None takes CUDA where there is one.

    Example:
        predict = torch.hub.load(repo, "predictor")
        predict("examples/clip.mp4").top(5)  # [{"label": ..., "score": ...}, ...]
    """
    return _package.Predictor(name, views=views, device=device)


def transform(name: str = _registry.DEFAULT_MODEL) -> _Any:
    """The transform that belongs to a network: frames as decoded in, a clip for it out.

    Input: frames (T, H, W, 3) uint8 RGB. Output: a clip (3, T, S, S), float, resized, cropped and normalised.

    name: one of the files of weights, `row.tag`, or `row` for the one that pretrained=True loads: recipes differ.

    Example:
        clip = torch.hub.load(repo, "transform", "slowfast_r50_8x8.fair_k400")(frames)
        logits = model(clip[None])
    """
    arch = _registry.find_arch(name.partition(".")[0])
    known = "." in name or any(info.arch == name for info in _manifest.WEIGHTS().values())
    return _package.EvalTransform(_manifest.find_weights(name).clip if known else arch.clip)


for _name in _registry.list_models():
    globals()[_name] = _entry(_name)
