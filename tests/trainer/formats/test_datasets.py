"""Charades and Something-Something v2 as they are published."""

import json

import pytest

from slowfast_hub.trainer.formats import read_videos
from slowfast_hub.trainer.samples import Span

HEADER = "id,subject,scene,quality,relevance,verified,script,objects,descriptions,actions,length\n"


def charades_row(name, person, actions):
    return f'{name},{person},Kitchen,6,7,Yes,"A person, ""running"".",door;cup,One.;Two.,{actions},30.5\n'


@pytest.fixture
def charades(tmp_path):
    (tmp_path / "videos").mkdir()
    for name in ("AAAAA", "BBBBB", "CCCCC"):
        (tmp_path / f"videos/{name}.mp4").touch()
    rows = charades_row("AAAAA", "P1", "c092 11.90 21.20;c147 0.00 12.60"), charades_row("BBBBB", "P2", "")
    (tmp_path / "Charades_v1_train.csv").write_text(HEADER + "".join(rows))
    (tmp_path / "Charades_v1_test.csv").write_text(HEADER + charades_row("CCCCC", "P3", "c000 1 2"))
    return tmp_path


def test_official_charades_has_labels_with_times(charades):
    found = read_videos(charades, videos=charades / "videos")
    (first, second), (test,) = found.train, found.val  # its test file is what papers validate on
    assert (len(found.classes), found.classes[0], found.multilabel) == (157, "Holding some clothes", True)
    assert first.labels == (92, 147)
    assert first.spans == (Span(92, 11.9, 21.2), Span(147, 0.0, 12.6))
    assert first.labels_between(0, 5) == (147,)
    assert first.labels_between(12, 13) == (92, 147)
    assert (second.labels, second.labels_between(0, 9), second.group) == ((), (), "P2")
    assert test.labels == (0,)


def test_an_action_of_charades_that_cannot_be_read_is_named(charades):
    (charades / "Charades_v1_train.csv").write_text(HEADER + charades_row("AAAAA", "P1", "c092 11.90"))
    with pytest.raises(ValueError, match=r"Charades_v1_train\.csv:2: an action is as 'c092 11\.90 21\.20'; got"):
        read_videos(charades, videos=charades / "videos")


def test_a_list_of_frames_gives_runs_of_labels_at_24_frames_a_second(tmp_path):
    (tmp_path / "AAAAA").mkdir()
    labels = ["", "3", "3,7", "3,7", "7", "", "3"]
    lines = [f'AAAAA 0 {k} AAAAA/AAAAA-{k + 1:06d}.jpg "{text}"\n' for k, text in enumerate(labels)]
    (tmp_path / "train.csv").write_text("original_vido_id video_id frame_id path labels\n" + "".join(lines))
    (sample,) = read_videos(tmp_path, val_share=0).train
    assert (sample.video, sample.fps, sample.labels) == (tmp_path / "AAAAA", 24.0, (3, 7))
    assert set(sample.spans) == {Span(3, 1 / 24, 4 / 24), Span(3, 6 / 24, 7 / 24), Span(7, 2 / 24, 5 / 24)}
    assert sample.labels_between(0, 1 / 24) == ()
    (sample,) = read_videos(tmp_path, val_share=0, fps=12.0).train
    assert Span(7, 2 / 12, 5 / 12) in sample.spans


def test_lists_of_frames_without_labels_and_with_other_columns_are_refused(tmp_path):
    path = tmp_path / "train.csv"
    path.write_text('original_vido_id video_id frame_id path labels\n1 0 0 1/1_000001.jpg ""\n')
    with pytest.raises(ValueError, match="a list of frames without labels; for Something-Something v2"):
        read_videos(path)
    path.write_text("original_vido_id video_id frame_id path labels\n1 0 0 1/1_000001.jpg\n")
    with pytest.raises(ValueError, match=r"train\.csv:2: 4 fields; expected"):
        read_videos(path)


@pytest.mark.parametrize("prefix", ["something-something-v2-", ""])
def test_something_something_by_its_old_and_new_names(tmp_path, prefix):
    def write(name, rows):
        (tmp_path / f"{prefix}{name}.json").write_text(json.dumps(rows))

    (tmp_path / "videos/78687").mkdir(parents=True)  # a folder of frames does as well
    (tmp_path / "videos/42326.webm").touch()
    write("labels", {"Closing something": "1", "Approaching something with your camera": "0"})
    write(
        "train", [{"id": "78687", "label": "closing a box", "template": "Closing [something]", "placeholders": ["x"]}]
    )
    write("validation", [{"id": "42326", "label": "-", "template": "Approaching [something] with your camera"}])
    write("test", [{"id": "1420"}])
    (tmp_path / "test-answers.csv").write_text("1420;Closing something\n")
    found = read_videos(tmp_path, videos=tmp_path / "videos")
    assert found.classes == ("Approaching something with your camera", "Closing something")
    assert [(s.video.name, s.labels) for s in (*found.train, *found.val)] == [("78687", (1,)), ("42326.webm", (0,))]
    assert any(note.endswith("test.json: left out, it has no labels") for note in found.notes)


def test_something_something_without_its_labels_has_the_174_of_the_published_networks(tmp_path):
    (tmp_path / "1.webm").touch()
    (tmp_path / "train.json").write_text('[{"id": "1", "template": "Burying [something] in [something]"}]')
    found = read_videos(tmp_path / "train.json", val_share=0)
    assert (len(found.classes), found.train[0].labels) == (174, (4,))
    (tmp_path / "train.json").write_text('[{"id": "1", "template": "Eating [something]"}]')
    with pytest.raises(ValueError, match=r"train\.json: row 0: label 'Eating something' is neither"):
        read_videos(tmp_path / "train.json")
    (tmp_path / "train.json").write_text('{"a": 1}')
    with pytest.raises(ValueError, match="expected a list of objects"):
        read_videos(tmp_path / "train.json")
