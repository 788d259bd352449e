"""People found in pictures: by a network with known answers, and by torchvision's with random weights in its cache."""

import hashlib
import io
import pickle

import pytest
import torch
from local_server import LocalServer, file, status
from torch import nn
from torchvision import models

from slowfast_hub.people.finder import PersonDetector

NAME = "ssdlite320_mobilenet_v3_large"  # the smallest of them: 13 MB
WEIGHTS = models.get_model_weights(NAME).DEFAULT
PICTURE = torch.randint(0, 256, (48, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


class Known(nn.Module):
    """Two people and a dog, and what the picture was."""

    def forward(self, pictures):
        (self.seen,) = pictures
        return [
            {
                "boxes": torch.tensor([[1.0, 2, 11, 22], [5, 5, 9, 9], [0, 0, 8, 8], [64, 0, 64, 8]]),
                "labels": torch.tensor([1, 18, 1, 1]),
                "scores": torch.tensor([0.9, 0.95, 0.8, 0.99]),
            }
        ]


def test_people_alone_are_kept_with_their_scores():
    found = PersonDetector(Known(), device="cpu")(PICTURE)
    assert found.tolist() == [pytest.approx([1, 2, 11, 22, 0.9]), pytest.approx([0, 0, 8, 8, 0.8])]
    assert PersonDetector(Known(), score=0.85, device="cpu")(PICTURE)[:, 4].tolist() == [pytest.approx(0.9)]
    assert PersonDetector(Known(), score=1, device="cpu")(PICTURE).shape == (0, 5)


def test_the_network_sees_colours_first_from_0_to_1():
    network = Known()
    PersonDetector(network, device="cpu")(PICTURE)
    assert network.seen.shape == (3, 48, 64)
    assert torch.equal((network.seen * 255).round().byte().permute(1, 2, 0), PICTURE)


@pytest.mark.parametrize(
    "picture", [PICTURE.float(), PICTURE[..., 0], PICTURE.permute(2, 0, 1)], ids=["float", "grey", "colours first"]
)
def test_other_pictures_are_refused(picture):
    with pytest.raises(ValueError, match=r"uint8 \(H, W, 3\)"):
        PersonDetector(Known(), device="cpu")(picture)


def test_a_name_that_torchvision_does_not_have_is_told_the_nearest():
    with pytest.raises(ValueError, match=r"did you mean 'fasterrcnn_resnet50_fpn'\?$"):
        PersonDetector("fasterrcnn_resnet50fpn")
    with pytest.raises(ValueError, match=r"no detector 'yolo'; it has fasterrcnn_.*, retinanet_resnet50_fpn.*[^)]$"):
        PersonDetector("yolo")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """torch's cache, empty."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture(scope="module")
def random_network() -> nn.Module:
    """It sees people everywhere."""
    torch.manual_seed(0)
    network = models.get_model(NAME, weights=None, weights_backbone=None).eval()
    for last in network.head.classification_head.module_list:
        last[-1].bias.data.view(-1, 91)[:, 1] += 1
    return network


def test_weights_in_the_cache_of_torchvision_are_used_as_torchvision_uses_them(cache, random_network):
    torch.save(random_network.state_dict(), cache / WEIGHTS.url.rsplit("/", 1)[1])
    found = PersonDetector(NAME, score=0, device="cpu")(PICTURE)
    with torch.inference_mode():
        (expected,) = random_network([PICTURE.permute(2, 0, 1) / 255])
    people = expected["labels"] == 1
    assert len(found) == people.sum() > 0
    assert torch.allclose(found[:, :4], expected["boxes"][people], atol=1e-4)
    assert torch.allclose(found[:, 4], expected["scores"][people], atol=1e-6)
    assert len(PersonDetector(NAME, score=0.5, device="cpu")(PICTURE)) == 0


def test_weights_are_fetched_once_and_nothing_is_said_on_stdout(
    cache, random_network, server: LocalServer, monkeypatch, capsys
):
    saved = io.BytesIO()
    torch.save(random_network.state_dict(), saved)
    name = f"ssdlite-{hashlib.sha256(saved.getvalue()).hexdigest()[:8]}.pth"
    monkeypatch.setattr(WEIGHTS.value, "url", server.serve(f"/{name}", file(saved.getvalue())))
    for _ in range(2):
        PersonDetector(NAME, device="cpu")
    assert len(server.seen) == 1
    assert (cache / name).is_file()
    assert capsys.readouterr().out == ""


def test_without_a_connection_it_says_which_file_to_put_where(cache, server: LocalServer, monkeypatch):
    url = server.serve("/ssdlite-00000000.pth", status(404))
    monkeypatch.setattr(WEIGHTS.value, "url", url)
    with pytest.raises(ConnectionError) as caught:
        PersonDetector(NAME, device="cpu")
    assert url in str(caught.value)
    assert str(cache / "ssdlite-00000000.pth") in str(caught.value)


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("code of the file was run",))


@pytest.mark.parametrize(
    "content",
    [pickle.dumps(Evil(), protocol=2), b"", b"not weights", b"PK\x03\x04 cut short"],
    ids=["code", "empty", "text", "cut short"],
)
def test_a_file_in_the_cache_that_is_no_weights_is_named_and_runs_nothing(cache, content):
    path = cache / WEIGHTS.url.rsplit("/", 1)[1]
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"does not hold the weights.*delete it"):
        PersonDetector(NAME, device="cpu")


def test_weights_of_another_network_are_named(cache):
    torch.save({"conv": torch.zeros(1)}, cache / WEIGHTS.url.rsplit("/", 1)[1])
    with pytest.raises(ValueError, match=NAME):
        PersonDetector(NAME, device="cpu")
