"""How fast the networks answer: this package, PyTorchVideo, OpenVINO and ONNX Runtime on the same weights, in one run.

    pip install -e .[bench] && python benchmarks/speed.py [networks|videos|growth|memory|training|start] ...

Ratios of medians; contestants take turns, so that all of them see the same noise. The machine's matrix-product rate is
printed beside, as times of different machines do not compare.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from measure import machine, measured, write_video
from torch import Tensor, nn
from video import THEIRS, pictures

from slowfast_hub import create_model
from slowfast_hub.models import VideoModel
from slowfast_hub.models.count import count
from slowfast_hub.predict.onednn import has_bfloat16
from slowfast_hub.predict.speed import prepare
from slowfast_hub.zoo.convert import to_pytorchvideo
from slowfast_hub.zoo.registry import find_arch

NAMES = ("slowfast_r50_8x8", "slowfast_r50_4x16", "slow_r50_8x8", "slowfast_r101_16x8")
PLOT = Path(__file__).parents[1] / "docs" / "cost.svg"
THEIR = "pytorchvideo 0.1.5"


def turns(works: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each work, which take turns, after one run that is not counted."""
    times: dict[str, list[float]] = {name: [] for name in works}
    for counted in range(repeats + 1):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if counted:
                times[name].append(time.perf_counter() - begin)
    return {name: statistics.median(found) for name, found in times.items()}


def product(device: str, dtype: torch.dtype) -> tuple[Callable[[], object], float]:
    """A matrix product, and its floating-point operations."""
    size = 2048 if device == "cpu" else 8192
    a, b = torch.randn(2, size, size, device=device, dtype=dtype)
    return lambda: a @ b, 2 * size**3


def lively(name: str, **changes: object) -> VideoModel:
    """A network with weights that give logits of order 1: a fresh one starts every block as the identity."""
    torch.manual_seed(0)
    pool = "global" if find_arch(name).roi else "window_logits"  # a detector pools boxes
    model = create_model(name, pool=pool, **changes)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, std=0.1)
            nn.init.normal_(module.running_mean, std=0.1)
    nn.init.normal_(model.get_classifier().weight, std=0.02)
    return model.eval()


def peer(name: str, model: VideoModel) -> nn.Module:
    """PyTorchVideo's network for a row, as its hub builds it, with the weights of `model`."""
    from pytorchvideo.models import hub
    from pytorchvideo.models.slowfast import create_slowfast

    build: dict[str, Callable[[], nn.Module]] = {
        "slowfast_r50_8x8": partial(hub.slowfast_r50, pretrained=False),
        "slowfast_r50_4x16": partial(
            create_slowfast,
            slowfast_channel_reduction_ratio=8,
            slowfast_conv_channel_fusion_ratio=2,
            slowfast_fusion_conv_kernel_size=(5, 1, 1),
            slowfast_fusion_conv_stride=(8, 1, 1),
            head_pool_kernel_sizes=((4, 7, 7), (32, 7, 7)),
        ),
        "slow_r50_8x8": partial(hub.slow_r50, pretrained=False),
        "slowfast_r101_16x8": partial(hub.slowfast_16x8_r101_50_50, pretrained=False),
    }
    made = build[name]().to(next(model.parameters()).device).eval()
    made.load_state_dict({to_pytorchvideo(key, model.arch): value for key, value in model.state_dict().items()})
    return made


def peer_input(model: VideoModel, clips: Tensor) -> Any:
    return [part.contiguous() for part in model.split(clips)] if hasattr(model, "split") else clips.contiguous()


def fresh(inputs: Any) -> Any:
    """PyTorchVideo's networks write into the list that they are given."""
    return list(inputs) if isinstance(inputs, list) else inputs


def runtimes(model: VideoModel, clips: Tensor, folder: Path) -> dict[str, Callable[[], Tensor]]:
    """OpenVINO and ONNX Runtime on torch's export of the network, float32, with torch's number of threads."""
    import onnxruntime
    import openvino

    contiguous, threads = clips.contiguous(), torch.get_num_threads()
    values = contiguous.numpy()
    with torch.no_grad():
        exported = torch.export.export(model, (contiguous,))
        torch.onnx.export(exported, (contiguous,), folder / "network.onnx", dynamo=True, verbose=False)
    settings = {
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = openvino.Core().compile_model(openvino.convert_model(exported), "CPU", settings)
    request = compiled.create_infer_request()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(folder / "network.onnx", options, providers=["CPUExecutionProvider"])
    feed = session.get_inputs()[0].name
    return {
        f"OpenVINO {openvino.__version__.split('-')[0]}": lambda: torch.from_numpy(
            request.infer([values])[compiled.output(0)]
        ),
        f"ONNX Runtime {onnxruntime.__version__}": lambda: torch.from_numpy(session.run(None, {feed: values})[0]),
    }


@torch.inference_mode()
def networks(arguments: argparse.Namespace) -> None:
    """Forward of one batch, 256 x 256, same weights."""
    device, half = arguments.device, torch.bfloat16
    for name in arguments.names:
        model = lively(name).to(device)
        their, macs = peer(name, model), count(model.arch).multiply_adds
        for size in arguments.batches:
            clips = torch.randn(size, model.arch.clip.frames, 256, 256, 3, device=device).permute(0, 4, 1, 2, 3)
            inputs, reference = peer_input(model, clips), model(clips)

            def autocast() -> Tensor:
                with torch.autocast(device, half):
                    return their(fresh(inputs))  # noqa: B023

            works: dict[str, Callable[[], Any]] = {
                THEIR: lambda: their(fresh(inputs)),  # noqa: B023
                "slowfast_hub, create_model": lambda: model(clips),  # noqa: B023
                "slowfast_hub, Predictor": partial(prepare(model), clips),
            }
            if size == 1 and device == "cpu":
                with tempfile.TemporaryDirectory() as folder:
                    works |= runtimes(model, clips, Path(folder))
            if arguments.compile:
                works["slowfast_hub, compile=True"] = partial(prepare(model, compile=True), clips)
            if device == "cuda" or has_bfloat16():
                works["pytorchvideo 0.1.5, autocast to bfloat16"] = autocast
                works["slowfast_hub, bfloat16"] = partial(prepare(model, precision="bfloat16"), clips)
            apart = {
                key: float((work().float() - reference).abs().max() / reference.std()) for key, work in works.items()
            }
            (works["product"], flop), (works["product16"], _) = product(device, torch.float32), product(device, half)
            seconds = turns(works, arguments.repeats)
            rates = {torch.float32: flop / seconds.pop("product"), half: flop / seconds.pop("product16")}
            shape = f"{model.arch.clip.frames} x 256 x 256, {macs / 1e9:.1f} G multiply-adds"
            giga = rates[torch.float32] / 1e9, rates[half] / 1e9
            print(f"\n{name}, batch {size}, {shape}")
            print(f"matrix product {giga[0]:.0f} GFLOP/s, in bfloat16 {giga[1]:.0f}\n")
            print("| | ms per view | times faster | of the rate | difference of logits |\n|---|---|---|---|---|")
            for key, value in seconds.items():
                rate = rates[half if "bfloat16" in key else torch.float32]
                base = seconds["pytorchvideo 0.1.5, autocast to bfloat16" if "bfloat16" in key else THEIR]
                share = 2 * macs * size / value / rate
                print(f"| {key} | {value / size * 1e3:.1f} | {base / value:.2f} | {share:.2f} | {apart[key]:.1e} |")


# The road of PyTorchVideo from a file to a label: its clips (video.py), three crops a batch, the mean of the scores.
THEIR_ROAD = (
    THEIRS
    + """
from speed import lively, peer, peer_input
model = lively({name!r})
network = peer({name!r}, model)
def label(path):
    scores = []
    video = EncodedVideo.from_path(path, decode_audio=False)
    for i in range(10):
        whole = clip(video, (10 - 64 / 30) * i / 10)
        crops = torch.stack([uniform_crop(whole, 256, where) for where in (0, 1, 2)])
        with torch.inference_mode():
            scores.append(network(peer_input(model, crops)).softmax(1))
    return torch.cat(scores).mean(0)
"""
)
OUR_ROAD = """
from speed import lively
from slowfast_hub import Predictor
predict = Predictor(lively({name!r}), views={views!r})
"""


def videos(arguments: argparse.Namespace) -> None:
    """A 10 s file of 340x256, 30 views, to its label; fresh processes, networks built beforehand."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(write_video(Path(folder) / "video.mp4", pictures(300, 256, 340), options={"crf": "23"}))
        for name in arguments.names:
            works = {
                THEIR: (THEIR_ROAD.format(name=name), f"label({path!r})"),
                "slowfast_hub, 10x3": (OUR_ROAD.format(name=name, views=(10, 3)), f"predict({path!r})"),
                "slowfast_hub, dense": (OUR_ROAD.format(name=name, views="dense"), f"predict({path!r})"),
            }
            found = measured(works, max(1, arguments.repeats // 2))
            print(
                f"\n{name}: 10 s of 340x256, file to label\n\n| | seconds | times faster | peak MB |\n|---|---|---|---|"
            )
            for key, (seconds, megabytes) in found.items():
                print(f"| {key} | {seconds:.1f} | {found[THEIR].seconds / seconds:.2f} | {megabytes:.0f} |")


def memory(arguments: argparse.Namespace) -> None:
    """Peak of 30 views above the process with its network."""
    with tempfile.TemporaryDirectory() as folder:
        path = str(write_video(Path(folder) / "video.mp4", pictures(300, 256, 340), options={"crf": "23"}))
        for name in ("slowfast_nl_r101_16x8", "slowfast_r50_8x8"):
            work = OUR_ROAD.format(name=name, views=(10, 3)), f"predict({path!r})"
            seconds, megabytes = measured({name: work}, 1)[name]
            print(f"{name}: 30 views take {megabytes:.0f} MB above the network, {seconds:.1f} s")


@torch.inference_mode()
def growth(arguments: argparse.Namespace) -> None:
    """Time per view from 1 to 30 views, and per multiply-add from 4 to 64 frames, with a plot."""
    from matplotlib import pyplot

    name = "slowfast_r50_4x16"
    ready = prepare(lively(name))
    clip = torch.randn(1, 32, 256, 256, 3).permute(0, 4, 1, 2, 3)
    views = (1, 3, 10, 30)

    def several(number: int) -> None:
        for _ in range(number):
            ready(clip)

    by_views = turns({str(number): partial(several, number) for number in views}, arguments.repeats)
    per_view = [by_views[str(number)] / number * 1e3 for number in views]
    frames, works, giga = (4, 8, 16, 32, 64), {}, []
    for number in frames:
        spec = replace(ready.arch.clip, frames=number)
        alpha = min(8, number)
        giga.append(count(replace(ready.arch, clip=spec, alpha=alpha)).multiply_adds / 1e9)
        network = prepare(lively(name, clip=spec, alpha=alpha))
        works[str(number)] = partial(network, torch.randn(1, number, 256, 256, 3).permute(0, 4, 1, 2, 3))
    by_frames = turns(works, arguments.repeats)
    per_giga = [by_frames[str(number)] / size * 1e3 for number, size in zip(frames, giga)]
    print(f"\n{name}, 256 x 256\n\n| views | ms per view |\n|---|---|")
    print("\n".join(f"| {number} | {value:.0f} |" for number, value in zip(views, per_view)))
    print("\n| frames | G multiply-adds | ms | ms per G |\n|---|---|---|---|")
    for number, size, value in zip(frames, giga, per_giga):
        print(f"| {number} | {size:.1f} | {by_frames[str(number)] * 1e3:.0f} | {value:.2f} |")
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for axes, x, y, label, unit in (
        (left, views, per_view, "views", "ms per view"),
        (right, frames, per_giga, "frames of a clip", "ms per G multiply-adds"),
    ):
        axes.plot(x, y, "o-")
        axes.set(xlabel=label, ylabel=unit, xscale="log", xticks=x, ylim=(0, 1.3 * max(y)))
        axes.set_xticklabels(map(str, x))
        axes.minorticks_off()
    figure.suptitle(f"{name} on the CPU")
    figure.savefig(PLOT, metadata={"Date": None})


def training(arguments: argparse.Namespace) -> None:
    """Forward, backward and update of slowfast_r50_4x16 at 224."""
    name, size = "slowfast_r50_4x16", 8 if arguments.device == "cuda" else 2
    ours = lively(name).to(arguments.device)
    clips = torch.randn(size, 3, 32, 224, 224, device=arguments.device)
    inputs, labels = [part.contiguous() for part in ours.split(clips)], torch.zeros(size, dtype=torch.long)
    labels = labels.to(arguments.device)
    channels_last = clips.contiguous(memory_format=torch.channels_last_3d)

    def step(model: nn.Module, batch: Any) -> Callable[[], None]:
        update = torch.optim.SGD(model.train().parameters(), 0.01, momentum=0.9)

        def run() -> None:
            with torch.autocast(arguments.device, torch.bfloat16, enabled=arguments.device == "cuda"):
                loss = nn.functional.cross_entropy(model(fresh(batch)), labels)
            update.zero_grad()
            loss.backward()
            update.step()

        return run

    works = {THEIR: step(peer(name, ours), inputs), "slowfast_hub": step(ours, channels_last)}
    seconds = turns(works, arguments.repeats)
    print(f"\n{name}: a training step of {size} clips, 32 x 224 x 224\n\n| | seconds | times faster |\n|---|---|---|")
    for key, value in seconds.items():
        print(f"| {key} | {value:.2f} | {seconds[THEIR] / value:.2f} |")


def start(arguments: argparse.Namespace) -> None:
    """A cold process: from nothing to the first answer, beside `import torch` alone."""
    clip = Path(__file__).parents[1] / "examples" / "clip.mp4"
    works = {
        "import torch": ("", "import torch"),
        "file to first answer": ("", f"import slowfast_hub; slowfast_hub.classify({str(clip)!r})"),
    }
    found = measured(works, 2 * arguments.repeats + 1)
    for key, (seconds, megabytes) in found.items():
        print(f"{key}: {seconds:.2f} s ({seconds / found['import torch'].seconds:.2f}), {megabytes:.0f} MB")


PARTS = {part.__name__: part for part in (networks, videos, growth, memory, training, start)}


def chosen(given: Iterable[str]) -> list[Callable[[argparse.Namespace], None]]:
    return [PARTS[name] for name in given] or list(PARTS.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="all of them when left out")
    parser.add_argument("--names", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--batches", nargs="+", type=int, default=[1], help="views a run")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--compile", action="store_true", help="also with compile=True")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    arguments = parser.parse_args()
    print(machine())
    for part in chosen(arguments.parts):
        part(arguments)


if __name__ == "__main__":
    main()
