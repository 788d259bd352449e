"""A network survives a folder and a Hub whole, with its labels and clip; anything less is refused.

Against the real `huggingface_hub` client, in a process of its own: it reads its environment when it is imported.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_server import TOKEN, Hub, running_hub
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from slowfast_hub.models import VideoModel
from slowfast_hub.spec import ClipSpec, Hosted, Origin, Reported, RoISpec, WeightsInfo
from slowfast_hub.zoo.card import figures, model_card
from slowfast_hub.zoo.create import create_model, from_pretrained
from slowfast_hub.zoo.describe import Description, to_header
from slowfast_hub.zoo.hub import (
    MAX_CONFIG,
    HubSource,
    find_pretrained,
    hub_source,
    local_folder,
    publish,
    read_config,
    row_of,
    save_pretrained,
)
from slowfast_hub.zoo.load import LoadError
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes, labels_of
from slowfast_hub.zoo.registry import ARCHS, find_arch, override, weights_info

ROOT = Path(__file__).resolve().parents[2]
CLIP = ClipSpec(frames=16, stride=3, fps=None, short_side=40, crop=32, mean=(0.4, 0.5, 0.6))
LABELS = ("running", 'say "hi", wave', "Fußball 足球")
EMBEDDED = "slowfast_r14_4x16_w16.hub_actions16"


def small(seed: int = 0, row: str = "slowfast_r50_4x16", **changes: Any) -> VideoModel:
    """A small network in which every tensor is random, so that no loss of one goes unseen."""
    size = {"depth": 14, "width": 8, "num_classes": 3, "clip": CLIP}
    model = create_model(row, **{**size, **changes})
    random = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=random) * 0.2 + 0.1)
    return model


def logits(model: VideoModel) -> torch.Tensor:
    clip = model.arch.clip
    clips = torch.randn(2, 3, clip.frames, clip.crop, clip.crop, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        return model(clips)


def summary(model: VideoModel) -> dict[str, Any]:
    """What must survive, in a form that JSON carries: two networks with equal summaries give bitwise equal logits."""
    values = hashlib.sha256(logits(model).numpy().tobytes()).hexdigest()
    return {"logits": values, "labels": list(model.labels), "arch": repr(model.arch), "training": model.training}


# ---- a folder

NETWORKS = {
    "slowfast": {},
    "sigmoid": {"row": "slow_r50_8x8", "activation": "sigmoid"},
    "features": {"num_classes": 0},
    "nonlocal": {"nonlocal_at": ((), (0,), (0,), ()), "nonlocal_kind": "softmax"},
    "nonlocal i3d": {"row": "i3d_nl_r50_8x8", "nonlocal_at": ((0,), (), (), ())},
    "strided": {"slow_rule": "strided", "alpha": 4, "lateral": "ttoc_cat", "pool": "window_probs"},
}


@pytest.mark.parametrize("case", NETWORKS)
def test_folder_gives_back_logits_labels_and_clip(tmp_path, case: str):
    model = small(**NETWORKS[case])
    labels = LABELS if model.num_classes else ()
    folder = save_pretrained(model, tmp_path / "new" / "folder", labels=labels)
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "config.json", "model.safetensors"]
    for found in (from_pretrained(folder), create_model(f"local-dir:{folder}")):
        assert torch.equal(logits(found), logits(model))
        assert (found.labels, found.arch, found.training) == (labels, model.arch, False)


def test_detector_survives_a_folder(tmp_path):
    model = small(roi=RoISpec(), activation="sigmoid")
    found = from_pretrained(save_pretrained(model, tmp_path))
    clips, rois = torch.rand(1, 3, 16, 32, 32), torch.tensor([[0.0, 2.0, 2.0, 20.0, 30.0]])
    with torch.inference_mode():
        assert torch.equal(found(clips, rois), model(clips, rois))
    card = (tmp_path / "README.md").read_text()
    assert "action-detection" in card
    assert "slowfast_hub.Detector(model)" in card


def test_other_number_of_classes_is_a_new_head_without_labels(tmp_path):
    model = small()
    save_pretrained(model, tmp_path, labels=LABELS)
    found = from_pretrained(tmp_path, num_classes=7)
    assert found.head.fc.weight.shape == (7, model.num_features)
    assert found.labels == ()
    assert torch.equal(found.slow.stem.conv1.conv.weight, model.slow.stem.conv1.conv.weight)


def test_labels_of_the_network_are_the_default_and_go_around(tmp_path):
    model = small()
    model.labels = LABELS
    again = from_pretrained(save_pretrained(model, tmp_path / "one"))
    assert from_pretrained(save_pretrained(again, tmp_path / "two")).labels == LABELS


def test_folder_can_be_saved_over_the_network_that_was_loaded_from_it(tmp_path):
    save_pretrained(small(), tmp_path)
    (tmp_path / "README.md").write_text("written by hand")
    found = from_pretrained(tmp_path)  # its tensors stay mapped to the file
    before = logits(found).clone()
    save_pretrained(found, tmp_path)
    assert torch.equal(logits(from_pretrained(tmp_path)), before)
    assert (tmp_path / "README.md").read_text() == "written by hand"


def test_channels_last_and_compiled_networks_are_saved_as_the_plain_one(tmp_path):
    model = small().to(memory_format=torch.channels_last_3d)
    save_pretrained(torch.compile(model), tmp_path)
    found = from_pretrained(tmp_path).state_dict()
    assert all(torch.equal(value, found[key]) for key, value in model.state_dict().items())


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(labels=st.lists(st.text(), unique=True, min_size=1, max_size=6))
def test_any_labels_survive(tmp_path, labels: list[str]):
    model = small(width=1, num_classes=len(labels))
    save_pretrained(model, tmp_path, labels=labels)
    assert from_pretrained(tmp_path).labels == tuple(labels)
    config = json.loads((tmp_path / "config.json").read_text())
    assert [config["id2label"][str(index)] for index in range(len(labels))] == labels
    assert [config["label2id"][label] for label in labels] == list(range(len(labels)))


@pytest.mark.parametrize(
    ("labels", "message"),
    [(("a", "b"), "3 classes; got 2 labels"), (("a", "b", "a"), "each class once; 'a' come")],
)
def test_labels_that_cannot_be_are_refused_before_anything_is_written(tmp_path, labels, message: str):
    with pytest.raises(ValueError, match=message):
        save_pretrained(small(), tmp_path / "x", labels=labels)
    assert not (tmp_path / "x").exists()


def test_config_speaks_timms_and_transformers_words(tmp_path):
    origin = {"license": "MIT", "url": "https://example.org/a.pth"}
    save_pretrained(
        small(activation="sigmoid"), tmp_path, name="slowfast_r50_4x16.me_pets", labels=LABELS, origin=origin
    )
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["architectures"] == ["SlowFast"]
    assert config["library_name"] == "slowfast_hub"
    assert config["architecture"] == "slowfast_r50_4x16"
    assert config["problem_type"] == "multi_label_classification"
    assert (config["num_classes"], config["num_features"], config["num_frames"]) == (3, 288, 16)
    assert config["id2label"] == dict(zip("012", LABELS))
    assert config["model_args"]["alpha"] == 8
    assert config["pretrained_cfg"] == {
        "tag": "me_pets",
        "input_size": [3, 16, 32, 32],
        "interpolation": "bilinear",
        "crop_pct": 0.8,
        "mean": [0.4, 0.5, 0.6],
        "std": [0.225, 0.225, 0.225],
        "num_classes": 3,
        "first_conv": ["fast.stem.conv1.conv", "slow.stem.conv1.conv"],
        "classifier": "head.fc",
        "license": "MIT",
        "origin_url": "https://example.org/a.pth",
    }
    save_pretrained(small(), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert "id2label" not in config
    assert config["problem_type"] == "single_label_classification"


def test_name_is_the_row_that_builds_the_network():
    assert row_of(ARCHS["slowfast_r50_8x8"]) == "slowfast_r50_8x8"
    assert row_of(small().arch) == "custom"


# ---- names

SOURCES = {
    "slowfast_r50_4x16": None,
    "slowfast_r50_4x16.fair_k400": None,
    "hf-hub:org/name": HubSource("hf-hub:org/name", None),
    "hf_hub:org/name": HubSource("hf-hub:org/name", None),
    "hf-hub:org/a.b-c_d@v1.0": HubSource("hf-hub:org/a.b-c_d", "v1.0"),
    "hf-hub:org/name@refs/pr/1": HubSource("hf-hub:org/name", "refs/pr/1"),
    "local-dir:/a/b": HubSource("local-dir:/a/b", None),
    "local-dir:C:\\a@b": HubSource("local-dir:C:\\a@b", None),
}


@pytest.mark.parametrize("name", SOURCES)
def test_prefix_says_where_a_network_is(name: str):
    assert hub_source(name) == SOURCES[name]


@pytest.mark.parametrize(
    "name", ["hf-hub:", "hf-hub:name", "hf-hub:org/name@", "hf-hub:a/b/c", "hf-hub:../name", "local-dir:"]
)
def test_malformed_source_is_a_valueerror_that_shows_the_forms(name: str):
    with pytest.raises(
        ValueError, match="should be 'hf-hub:org/name', 'hf-hub:org/name@revision' or 'local-dir:folder'"
    ):
        create_model(name)


def test_name_without_prefix_is_told_both():
    with pytest.raises(ValueError, match="write 'hf-hub:org/name' or 'local-dir:org/name'"):
        create_model("org/name")


def test_folder_hides_a_repository_only_when_it_holds_a_config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "org" / "name").mkdir(parents=True)
    assert local_folder("org/name") is None
    (tmp_path / "org" / "name" / "config.json").write_text("{}")
    assert local_folder("org/name") == Path("org/name")
    assert local_folder("hf-hub:org/name") is None
    assert local_folder("local-dir:org/other") == Path("org/other")
    assert local_folder("name") == Path("name")


def test_folder_has_no_revision(tmp_path):
    save_pretrained(small(), tmp_path)
    with pytest.raises(ValueError, match="is a folder, so it has no revision 'main'"):
        from_pretrained(tmp_path, revision="main")


# ---- folders that are not right


def edited(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


BAD_CONFIGS: dict[str, tuple[Callable[[dict[str, Any]], object], str]] = {
    "other network": (lambda c: c["slowfast_hub"]["arch"].update(alpha=4), "describe two networks"),
    "other labels": (lambda c: c["slowfast_hub"].update(labels=["x", "y", "z"]), "describe two networks"),
    "too few labels": (lambda c: c["slowfast_hub"].update(labels=["x"]), "3 classes and 1 labels"),
    "no block": (lambda c: c.pop("slowfast_hub"), "describes no network of slowfast_hub"),
    "block is text": (lambda c: c.update(slowfast_hub="x"), "does not describe a network"),
    "block is a list": (lambda c: c.update(slowfast_hub=[1]), "does not describe a network"),
    "arch is a list": (lambda c: c["slowfast_hub"].update(arch=[1]), "does not describe a network"),
    "arch is a number": (lambda c: c["slowfast_hub"].update(arch=1), "does not describe a network"),
    "field is nonsense": (lambda c: c["slowfast_hub"]["arch"].update(depth="deep"), "depth must be one of"),
    "unknown field": (lambda c: c["slowfast_hub"]["arch"].update(gamma=2), "no field gamma"),
    "other family": (lambda c: c["slowfast_hub"].update(family="X3D"), "family is one of SlowFast, ResNet3D"),
}


@pytest.mark.parametrize("case", BAD_CONFIGS)
def test_config_that_is_not_the_weights_own_is_a_load_error(tmp_path, case: str):
    save_pretrained(small(), tmp_path)
    change, message = BAD_CONFIGS[case]
    edited(tmp_path, change)
    with pytest.raises(LoadError, match=message):
        from_pretrained(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"not json", b"[1]", b"null", b"\xff\xfe\x00", b"[" * 10_000, b'{"slowfast_hub":' * 10_000]
)
def test_config_that_is_not_json_of_ours_is_a_load_error(tmp_path, content: bytes):
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(LoadError, match=r"config\.json"):
        from_pretrained(tmp_path)


def test_huge_config_is_not_read_and_never_written(tmp_path):
    with (tmp_path / "config.json").open("wb") as file:
        file.truncate(MAX_CONFIG + 1)
    with pytest.raises(LoadError, match="has at most"):
        read_config(tmp_path / "config.json")
    with pytest.raises(ValueError, match="shorten the labels"):
        save_pretrained(small(num_classes=2), tmp_path / "x", labels=["a", "b" * MAX_CONFIG])


@pytest.mark.parametrize("gone", ["config.json", "model.safetensors"])
def test_missing_file_is_named_with_what_save_pretrained_writes(tmp_path, gone: str):
    save_pretrained(small(), tmp_path)
    (tmp_path / gone).unlink()
    with pytest.raises(FileNotFoundError, match=rf"{gone}: no such file; save_pretrained and push_to_hub write"):
        from_pretrained(tmp_path)


def test_missing_tensor_is_a_load_error_and_not_a_random_one(tmp_path):
    model = small()
    save_pretrained(model, tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["head.fc.weight"]
    save_file(tensors, path, metadata=to_header(Description("custom", model.arch)))
    with pytest.raises(LoadError, match=r"missing 'head\.fc\.weight'"):
        from_pretrained(tmp_path)


# ---- the card


def test_card_of_a_run_is_named_after_the_network_that_it_changed_and_has_its_figure_once(tmp_path):
    save_pretrained(small(), tmp_path, origin={"network": "slowfast_r50_8x8", "val": "top-1 90.0 %"})
    text = (tmp_path / "README.md").read_text()
    assert "# slowfast_r50_8x8, changed\n" in text
    assert "None are recorded" not in text
    assert text.count("90.0 %") == 1


def test_card_of_a_network_of_ones_own_parses_and_claims_nothing(tmp_path):
    from huggingface_hub import ModelCard

    save_pretrained(small(), tmp_path, labels=LABELS)
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.to_dict() == {
        "library_name": "slowfast_hub",
        "pipeline_tag": "video-classification",
        "tags": ["slowfast", "video", "action-recognition"],
        "model_name": "custom",
    }
    assert "None are recorded." in card.text


LICENSES = {
    "Apache-2.0 (repository licence; terms of the data apply)": {"license": "apache-2.0"},
    "MIT": {"license": "mit"},
    "Research only, no sale": {"license": "other", "license_name": "research-only-no-sale"},
}


@pytest.mark.parametrize("text", LICENSES)
def test_licence_is_in_the_words_of_the_hub_and_in_its_own(text: str):
    from huggingface_hub import ModelCard

    card = ModelCard(model_card(Description("custom", small().arch, origin={"license": text})))
    found = card.data.to_dict()
    assert {key: found[key] for key in ("license", "license_name") if key in found} == LICENSES[text]
    assert f"* license: {text}" in card.text


def test_reported_and_measured_figures_are_never_one_entry():
    from huggingface_hub import ModelCard

    info = WeightsInfo(
        name="slowfast_r50_4x16.fair_k400",
        arch="slowfast_r50_4x16",
        changes={},
        num_classes=3,
        labels="kinetics400",
        activation="softmax",
        clip=CLIP,
        hosted=Hosted("x.safetensors"),
        origin=Origin("PySlowFast", "Apache-2.0"),
        reported=Reported("kinetics400", "MODEL_ZOO.md at 287ec00", views="10x3", top1=75.6, top5=92.0),
        measured={"views": "1x1", "split": "validation", "top1": 70.1},
    )
    card = ModelCard(model_card(Description(info.name, small().arch), info))
    (index,) = card.data.to_dict()["model-index"]
    assert index["name"] == info.name
    theirs, ours = index["results"]
    assert theirs["task"] == ours["task"] == {"type": "video-classification"}
    reported, measured = "reported by the original project", "measured by slowfast_hub"
    assert theirs["dataset"] == {"name": "kinetics400", "type": "kinetics400", "config": reported}
    assert ours["dataset"] == {"name": "kinetics400", "type": "kinetics400", "config": measured}
    source = {"views": "10x3", "source": "MODEL_ZOO.md at 287ec00"}
    assert theirs["metrics"] == [
        {"type": "accuracy", "value": 75.6, "name": "top-1 (%)", "args": source},
        {"type": "accuracy", "value": 92.0, "name": "top-5 (%)", "args": source},
    ]
    args = {"views": "1x1", "split": "validation"}
    assert ours["metrics"] == [{"type": "accuracy", "value": 70.1, "name": "top-1 (%)", "args": args}]
    assert card.data.datasets == ["kinetics400"]
    assert (
        f"| {reported} | kinetics400 | top-1 (%) | 75.6 | views: 10x3, source: MODEL_ZOO.md at 287ec00 |" in card.text
    )


def test_every_record_has_a_card_that_parses_and_labels_that_can_be_published():
    from huggingface_hub import ModelCard

    for info in WEIGHTS().values():
        labels = labels_of(info)
        assert len(set(labels)) == info.num_classes
        arch = override(info.name, find_arch(info.arch), arch_changes(info))
        card = ModelCard(model_card(Description(info.name, arch, labels, {"license": info.origin.license}), info))
        assert card.data.license == "apache-2.0"
        entries = card.data.eval_results or []
        assert [entry.metric_value for entry in entries] == [figure.value for figure in figures(info)]


# ---- publishing a record


def test_published_folder_is_the_record(tmp_path):
    from huggingface_hub import ModelCard

    info = weights_info(EMBEDDED)
    done = publish(EMBEDDED, tmp_path / "out")
    found = from_pretrained(done.folder)
    assert summary(found) == summary(create_model(EMBEDDED, pretrained=True))
    assert found.labels == labels_of(info)
    weights = (done.folder / "model.safetensors").read_bytes()
    assert done.hosted == Hosted("model.safetensors", None, None, hashlib.sha256(weights).hexdigest(), len(weights))
    config = json.loads((done.folder / "config.json").read_text())
    assert config["id2label"]["0"] == labels_of(info)[0]
    card = ModelCard.load(done.folder / "README.md")
    front = card.data.to_dict()
    assert (front["license"], front["library_name"]) == ("apache-2.0", "slowfast_hub")
    assert front["pipeline_tag"] == "video-classification"
    (index,) = front["model-index"]
    assert index["name"] == EMBEDDED
    values = {metric["args"]["part"]: metric["value"] for metric in index["results"][0]["metrics"]}
    assert values == {"single_actions": 86.7, "interactions": 78.3}
    assert [result["dataset"]["config"] for result in index["results"]] == ["measured by slowfast_hub"]
    assert info.origin.source in card.text


def test_push_without_a_repository_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="push needs repo="):
        publish(EMBEDDED, tmp_path / "out", push=True)
    assert not (tmp_path / "out").exists()


def test_unknown_record_is_named(tmp_path):
    with pytest.raises(LookupError, match="no weights called"):
        publish("slowfast_r14_4x16_w16.nobody", tmp_path)


# ---- the Hub

PRELUDE = f"""
import sys, json, torch
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
torch.set_num_threads(1)
from pathlib import Path
from zoo.test_hub import EMBEDDED, LABELS, small, summary
from dataclasses import replace
from slowfast_hub.spec import Hosted
from slowfast_hub.zoo.cache import sha256_of
from slowfast_hub.zoo.create import create_model, from_pretrained
from slowfast_hub.zoo.fetch import weights_path
from slowfast_hub.zoo.hub import publish, push_to_hub
from slowfast_hub.zoo.registry import weights_info

def failure(action):
    try:
        action()
    except Exception as error:
        notes = "".join(getattr(error, "__notes__", ()))
        return f"{{type(error).__name__}}: {{error}} {{notes}}"
"""


@dataclass
class Client:
    """A user: an environment in which Python code runs with the real client of the Hub."""

    hub: Hub
    home: Path

    def __call__(self, code: str, **environment: str) -> Any:
        """What the code leaves in `answer`."""
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "HUGGING"))}
        ours = {
            "HF_ENDPOINT": self.hub.url,
            "HF_HOME": str(self.home / "hf"),
            "SLOWFAST_HUB_CACHE": str(self.home / "ours"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
            "NO_PROXY": "127.0.0.1,localhost",
        }
        done = subprocess.run(
            [sys.executable, "-c", f"{PRELUDE}\n{code}\nprint(json.dumps(answer))"],
            env={**kept, **ours, **environment},
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with running_hub() as running:
        yield running


@pytest.fixture(scope="module")
def pushed(hub, tmp_path_factory) -> dict[str, Any]:
    """What a user with an account uploaded: two versions, a branch, a pull request, a private one, a record."""
    user = Client(hub, tmp_path_factory.mktemp("pusher"))
    answer = user(
        """
answer = {
    "first": push_to_hub(small(1), "org/video", labels=LABELS),
    "second": push_to_hub(small(2), "org/video", labels=LABELS, commit_message="Better", origin={"license": "MIT"}),
    "branch": push_to_hub(small(3), "org/video", branch="try-out"),
    "pull": push_to_hub(small(4), "org/video", create_pr=True),
    "private": push_to_hub(small(5), "org/secret", private=True),
}
done = publish(EMBEDDED, Path("out"), repo="org/embedded", push=True)
answer["hosted"] = [str(done.folder), done.hosted.repo, done.hosted.revision, done.hosted.sha256, done.hosted.bytes]
""",
        HF_TOKEN=TOKEN,
    )
    assert isinstance(answer, dict)
    return answer


@pytest.fixture(scope="module")
def full(hub, pushed, tmp_path_factory) -> tuple[Client, dict[str, Any]]:
    """Another user, who loaded all that into an empty cache; and what came out."""
    user = Client(hub, tmp_path_factory.mktemp("reader"))
    commit = pushed["first"].rpartition("/")[2]
    _, repo, revision, digest, size = pushed["hosted"]
    hosted = Hosted("model.safetensors", repo, revision, digest, size)
    answer = user(
        f"""
answer = {{
    "main": summary(from_pretrained("org/video")),
    "commit": summary(from_pretrained("org/video", revision={commit!r})),
    "branch": summary(create_model("hf-hub:org/video@try-out")),
    "pull": summary(from_pretrained("org/video", revision="refs/pr/1")),
    "private": summary(from_pretrained("org/secret")),
    "embedded": summary(from_pretrained("org/embedded")),
}}
other = create_model("hf_hub:org/video@{commit}", num_classes=7)
record = replace(weights_info(EMBEDDED), hosted={hosted!r})
answer["fetched"] = sha256_of(weights_path(record))
answer["seven"] = [list(other.head.fc.weight.shape), other.slow.stem.conv1.conv.weight.double().sum().item()]
""",
        HF_TOKEN=TOKEN,
    )
    return user, answer


def test_push_writes_one_commit_with_three_files(hub, pushed):
    assert pushed["first"] == f"{hub.url}/org/video/commit/{list(hub.repos['org/video'].commits)[1]}"
    assert pushed["pull"] == f"{hub.url}/org/video/discussions/1"
    repo = hub.repos["org/video"]
    assert len(repo.commits) == 5  # the Hub's own first one, two on main, one on the branch, one of the pull request
    assert set(repo.commits[repo.refs["main"]]) == {".gitattributes", "README.md", "config.json", "model.safetensors"}
    assert b"license: mit" in repo.commits[repo.refs["main"]]["README.md"]
    assert b'from_pretrained("org/video")' in repo.commits[repo.refs["main"]]["README.md"]
    assert hub.repos["org/secret"].private
    assert not repo.private


def test_pushed_network_comes_back_from_an_empty_cache_whole(full):
    model = small(2)
    model.labels = LABELS
    assert full[1]["main"] == summary(model)


@pytest.mark.parametrize(("revision", "seed"), [("commit", 1), ("branch", 3), ("pull", 4), ("private", 5)])
def test_revision_picks_its_own_weights(full, revision: str, seed: int):
    assert full[1][revision]["logits"] == summary(small(seed))["logits"]


def test_number_of_classes_makes_a_new_head_only(full):
    weight = small(1).slow.stem.conv1.conv.weight
    assert full[1]["seven"] == [[7, 288], weight.double().sum().item()]


def test_published_record_is_hosted_as_it_says(hub, pushed, full):
    folder, repo, revision, digest, size = pushed["hosted"]
    assert (folder, repo) == ("out", "org/embedded")
    weights = hub.repos[repo].commits[revision]["model.safetensors"]
    assert (hashlib.sha256(weights).hexdigest(), len(weights)) == (digest, size)
    assert full[1]["embedded"] == summary(create_model(EMBEDDED, pretrained=True))
    assert full[1]["fetched"] == digest  # with `hosted` in the manifest, create_model(name, pretrained=True) finds it


def test_full_cache_works_offline_and_asks_nobody(hub, pushed, full):
    user, online = full
    asked = len(hub.requests)
    commit = pushed["first"].rpartition("/")[2]
    offline = user(
        f"""
answer = {{
    "main": summary(from_pretrained("org/video")),
    "commit": summary(from_pretrained("org/video", revision={commit!r})),
    "branch": summary(create_model("hf-hub:org/video@try-out")),
}}
""",
        HF_HUB_OFFLINE="1",
    )
    assert offline == {key: online[key] for key in offline}
    assert len(hub.requests) == asked


def test_empty_cache_offline_says_what_is_missing(hub, tmp_path):
    answer = Client(hub, tmp_path)(
        'answer = failure(lambda: from_pretrained("org/video", revision="v1"))', HF_HUB_OFFLINE="1"
    )
    assert answer.startswith("FileNotFoundError: org/video@v1: config.json is not in the cache of huggingface_hub")
    assert "HF_HUB_OFFLINE" in answer
    assert "load it once while online" in answer


def repository(tmp_path: Path, **changes: bytes | None) -> dict[str, bytes]:
    """The files of a good repository with some of them changed, or left out by None."""
    save_pretrained(small(), tmp_path, labels=LABELS)
    good = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    named = {key.replace("__", "."): value for key, value in changes.items()}
    return {key: value for key, value in {**good, **named}.items() if value is not None}


@pytest.fixture(scope="module")
def failures(hub, pushed, tmp_path_factory) -> dict[str, str]:
    """What one anonymous user is told about each repository that is not right."""
    folder = tmp_path_factory.mktemp("bad")
    config = json.loads(repository(folder)["config.json"])
    config["slowfast_hub"]["arch"]["alpha"] = 4
    tensors = load_file(folder / "model.safetensors")
    tensors.pop("slow.stem.conv1.conv.weight")
    save_file(tensors, folder / "less.safetensors", metadata=to_header(read_description(folder)))
    less = (folder / "less.safetensors").read_bytes()
    (folder / "less.safetensors").unlink()
    bad = {
        "no-config": repository(folder, config__json=None),
        "pickle": repository(folder, model__safetensors=None, pytorch_model__bin=b"cposix\nsystem\n(S'exit 1'\ntR."),
        "sharded": repository(folder, model__safetensors=None, model__safetensors__index__json=b"{}"),
        "transformers": repository(folder, config__json=b'{"model_type": "videomae", "architectures": ["VideoMAE"]}'),
        "other-network": repository(folder, config__json=json.dumps(config).encode()),
        "less": repository(folder, model__safetensors=less),
    }
    for name, files in bad.items():
        hub.add(f"org/{name}", files)
    for seed, (name, spoil) in enumerate({"cut": lambda data: data[:-1000], "flipped": flip}.items(), start=50):
        save_pretrained(small(seed), folder)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        hub.add(f"org/{name}", files)
        weights = files["model.safetensors"]
        hub.spoilt[hashlib.sha256(weights).hexdigest()] = spoil(weights)
    user = Client(hub, tmp_path_factory.mktemp("anonymous"))
    (user.home / "org" / "nothing").mkdir(parents=True)
    names = [*bad, "cut", "flipped", "nothing", "secret"]
    answer = user(
        f"""
answer = {{name: failure(lambda: from_pretrained("org/" + name)) for name in {names}}}
answer["revision"] = failure(lambda: from_pretrained("org/video", revision="v9"))
answer["push"] = failure(lambda: push_to_hub(small(), "org/video"))
answer["name"] = failure(lambda: from_pretrained("hf-hub:org/video@v9"))
"""
    )
    assert isinstance(answer, dict)
    return answer


def read_description(folder: Path) -> Description:
    return find_pretrained(str(folder), revision=None)[0]


def flip(data: bytes) -> bytes:
    """One bit of the last tensor: nothing but a digest sees it."""
    return data[:-1] + bytes([data[-1] ^ 1])


FAILURES = {
    "no-config": ("FileNotFoundError", "org/no-config: holds no config.json; save_pretrained and push_to_hub write"),
    "pickle": ("FileNotFoundError", "holds no model.safetensors", "pickles and sharded files are not opened"),
    "sharded": ("FileNotFoundError", "holds no model.safetensors", "pickles and sharded files are not opened"),
    "transformers": ("LoadError", "describes no network of slowfast_hub"),
    "other-network": ("LoadError", "describe two networks"),
    "less": ("LoadError", "missing 'slow.stem.conv1.conv.weight'"),
    "cut": ("OSError", "Consistency check failed"),
    "flipped": ("LoadError", "these are not the bytes the Hub promised; delete "),
    "nothing": ("RepositoryNotFoundError", "401", "the folder org/nothing exists, but holds no config.json"),
    "secret": ("RepositoryNotFoundError", "401"),
    "revision": ("RevisionNotFoundError", "404"),
    "push": ("HfHubHTTPError", "401"),
    "name": ("ValueError", "its revision is passed apart"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_repository_that_is_not_right_is_refused_with_the_reason(failures, case: str):
    kind, *parts = FAILURES[case]
    assert failures[case].startswith(f"{kind}: ")
    for part in parts:
        assert part in failures[case]


def test_only_the_two_files_are_ever_asked_for_and_the_weights_by_the_commit_of_the_config(hub, full, failures):
    asked = [path.split("/resolve/")[1].rsplit("/", 1) for path in hub.requests if "/resolve/" in path]
    assert {file for _, file in asked} == {"config.json", "model.safetensors"}
    assert all(re.fullmatch("[0-9a-f]{40}", revision) for revision, file in asked if file == "model.safetensors")


@pytest.mark.parametrize("part", ["slow", "fast.res3"])
def test_compiled_parts_are_saved_under_their_own_names(tmp_path, part):
    model = create_model("slowfast_r50_4x16", depth=14, width=8, num_classes=3)
    parent, _, name = part.rpartition(".")
    owner = model.get_submodule(parent)
    setattr(owner, name, torch.compile(getattr(owner, name), backend="eager"))
    assert any("_orig_mod" in key for key in model.state_dict())
    again = from_pretrained(save_pretrained(model, tmp_path / "net", name="custom"))
    assert not any("_orig_mod" in key for key in again.state_dict())


def test_a_network_that_could_not_be_read_back_is_not_written(tmp_path):
    model = create_model("slowfast_r50_4x16", depth=14, width=8, num_classes=3)
    model.head.fc = torch.nn.Linear(288, 5)
    with pytest.raises(
        ValueError, match=r"not the one that its arch describes: 'head.fc.weight' is \(5, 288\), expected"
    ):
        save_pretrained(model, tmp_path / "net")
    assert not (tmp_path / "net" / "model.safetensors").exists()


@pytest.mark.parametrize(
    ("name", "says"), [("slow_r50_8x8", "is no slow_r50_8x8"), ("../e", "a row of list_models"), ("x", "a row of list")]
)
def test_a_name_that_is_not_the_networks_is_refused(tmp_path, name, says):
    model = create_model("slowfast_r50_4x16", depth=14, width=8, num_classes=3)
    with pytest.raises(ValueError, match=says):
        save_pretrained(model, tmp_path / "net", name=name)


@pytest.mark.parametrize("source", ["", "local-dir:", "hf-hub:"])
def test_an_empty_source_is_refused(source):
    with pytest.raises(ValueError, match="needs 'org/name' or a folder"):
        from_pretrained(source)
