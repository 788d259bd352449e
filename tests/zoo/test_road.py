"""The road of a name, whole: a published file on a server, to a network with its labels, from every door."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from local_server import LocalServer, file, status
from torch import Tensor

from slowfast_hub import Predictor, create_model
from slowfast_hub.models import build
from slowfast_hub.spec import WeightsInfo
from slowfast_hub.zoo import fetch, manifest, registry
from slowfast_hub.zoo.convert import to_pytorchvideo
from slowfast_hub.zoo.fetch import FetchError
from slowfast_hub.zoo.manifest import WEIGHTS, arch_changes
from slowfast_hub.zoo.registry import ARCHS, override

REPO = Path(__file__).resolve().parents[2]
ROW, NAME = "slow_r14_8x8", "slow_r14_8x8.ptv_k400"
PUBLISHED = "slow_r50_8x8.ptv_k400"  # the record that the small one is made like


@pytest.fixture
def published(
    server: LocalServer, empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[WeightsInfo, dict[str, Tensor]]:
    """A record like a real one, of a network small enough for a test, and its checkpoint on the server."""
    row = override(ROW, ARCHS["slow_r50_8x8"], {"depth": 14, "width": 8})
    monkeypatch.setitem(registry.ARCHS, ROW, row)
    like = WEIGHTS()[PUBLISHED]
    torch.manual_seed(0)
    model = build(override(ROW, row, arch_changes(like)))
    torch.nn.init.normal_(model.get_classifier().weight)
    weights = dict(model.state_dict())
    path = tmp_path / "SLOW_8x8_R14.pyth"
    torch.save({"model_state": {to_pytorchvideo(key, model.arch): value for key, value in weights.items()}}, path)
    content = path.read_bytes()
    url = server.serve("/kinetics/SLOW_8x8_R14.pyth", file(content, drop_after=len(content) // 3))
    info = replace(
        like,
        name=NAME,
        arch=ROW,
        hosted=replace(like.hosted, file=f"{NAME}.safetensors"),
        origin=replace(like.origin, url=url, digest=f"sha256:{hashlib.sha256(content).hexdigest()[:8]}"),
    )
    records = {**WEIGHTS(), NAME: info}
    for module in (manifest, registry):
        monkeypatch.setattr(module, "WEIGHTS", lambda: records)
    return info, weights


def test_published_file_becomes_a_network_that_names_what_it_sees(published, server: LocalServer):
    _, weights = published
    model = create_model(NAME, pretrained=True)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert model.arch.pool == "window_logits"
    assert model.labels[0] == "abseiling"
    assert [seen.status for seen in server.seen] == [200, 206, 206, 206][: len(server.seen)]  # it dropped, and went on
    before = len(server.seen)
    predict = Predictor(ROW)
    assert predict.name == NAME
    top = predict(torch.zeros(40, 48, 64, 3, dtype=torch.uint8)).top(3)
    assert all(row["label"] in model.labels for row in top)
    assert len(server.seen) == before  # from the cache


def test_another_number_of_classes_keeps_the_body(published):
    _, weights = published
    model = create_model(NAME, pretrained=True, num_classes=5)
    assert torch.equal(model.pathway.res5[0].c.conv.weight, weights["pathway.res5.0.c.conv.weight"])
    assert model.get_classifier().weight.shape == (5, 256)
    assert model.labels == ()


def test_offline_from_the_full_cache_and_not_from_an_empty_one(published, server, monkeypatch):
    create_model(NAME, pretrained=True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    server.paths.clear()
    assert create_model(NAME, pretrained=True).num_classes == 400
    monkeypatch.setenv("SLOWFAST_HUB_CACHE", str(fetch.cache_dir() / "other"))
    with pytest.raises(FetchError, match=r"SLOW_8x8_R14.pyth.* is not on this disk.*slowfast-hub weights mirror DIR"):
        create_model(NAME, pretrained=True)


def test_file_of_another_network_is_refused_with_the_names_that_differ(published, server, tmp_path):
    info, weights = published
    given = {to_pytorchvideo(key, ARCHS["slow_r50_8x8"]): value for key, value in weights.items()}
    del given["blocks.3.res_blocks.0.branch2.conv_b.weight"]
    torch.save({"model_state": given}, tmp_path / "x.pyth")
    server.serve("/kinetics/SLOW_8x8_R14.pyth", file((tmp_path / "x.pyth").read_bytes()))
    other = replace(info, origin=replace(info.origin, digest=None))
    says = r"missing 'blocks.3.res_blocks.0.branch2.conv_b.weight' \(here 'pathway.res4.0.b.conv.weight'\)"
    with pytest.raises(FetchError, match=says):
        fetch.weights_path(other)


def test_file_that_is_gone_says_so(published, server):
    server.serve("/kinetics/SLOW_8x8_R14.pyth", status(404))
    with pytest.raises(FetchError, match="404"):
        create_model(NAME, pretrained=True)


# The real names, with weights of random values in a mirror: 140 MB once.
CHILD = """
import sys, torch
repo, door = sys.argv[1:]
if door == "timm":
    import slowfast_hub, timm
    slowfast_hub.register_timm()
    model = timm.create_model("slowfast_r50_8x8.fair_k400", pretrained=True, num_classes=5)
    assert model.get_classifier().out_features == 5 and model.labels == ()
else:
    model = torch.hub.load(repo, "slowfast_r50_8x8", source="local", pretrained=True)
    assert model.labels[:2] == ("abseiling", "air drumming") and model.arch.pool == "window_probs"
print(float(model.slow.stem.conv1.conv.weight.double().sum()))
"""


def test_torch_hub_and_timm_load_the_default_from_an_empty_cache_then_offline(tmp_path: Path):
    name = "slowfast_r50_8x8.fair_k400"
    arch = override(name, ARCHS["slowfast_r50_8x8"], arch_changes(WEIGHTS()[name]))
    from slowfast_hub.zoo.describe import Description, to_header
    from slowfast_hub.zoo.save import save_tensors

    weights = dict(build(arch).state_dict())
    path = save_tensors(
        weights, tmp_path / "mirror" / f"{name}.safetensors", metadata=to_header(Description(name, arch))
    )
    index = {name: {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}}
    (tmp_path / "mirror" / "mirror.json").write_text(json.dumps(index))
    places = {"TORCH_HOME": str(tmp_path / "torch"), "HF_HOME": str(tmp_path / "hf"), "PYTHONPATH": str(REPO)}
    turns = [("hub", {"SLOWFAST_HUB_MIRROR": str(tmp_path / "mirror")}), ("hub", {}), ("timm", {})]
    for door, extra in turns:  # the first fills the cache, the others have nothing else
        environment = {key: value for key, value in os.environ.items() if not key.startswith("SLOWFAST_HUB")}
        done = subprocess.run(
            [sys.executable, "-c", CHILD, str(REPO), door],
            capture_output=True, text=True, check=False, env=environment | places | extra | {"HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert float(done.stdout) == pytest.approx(float(weights["slow.stem.conv1.conv.weight"].double().sum()))
    assert (tmp_path / "torch" / "hub" / "slowfast_hub" / f"{name}.safetensors").is_file()
