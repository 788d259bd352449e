"""A folder per class: what is a class, what a video, what a part."""

import shutil

import pytest

from slowfast_hub.trainer.formats import first_rows, read_videos


def fill(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def rows(samples, root):
    return [(str(sample.video.relative_to(root)), sample.labels) for sample in samples]


def test_classes_are_folders_in_alphabetical_order_with_videos_at_any_depth(tmp_path):
    fill(
        tmp_path, "walk/b.mp4", "walk/day 2/ä.webm", "bend/a.avi", "bend/notes.txt", "bend/.hidden.mp4", ".git/x/y.mp4"
    )
    found = read_videos(tmp_path, val_share=0)
    assert found.classes == ("bend", "walk")
    assert rows(found.train, tmp_path) == [("bend/a.avi", (0,)), ("walk/b.mp4", (1,)), ("walk/day 2/ä.webm", (1,))]
    assert "left out: 1 files that are no videos" in found.notes
    assert first_rows(found, 2)[1] == ("train", str(tmp_path / "walk/b.mp4"), "walk", "")


def test_parts_have_the_names_people_give_them(tmp_path):
    fill(tmp_path, "training/run/a.mp4", "training/sit/b.mp4", "valid/run/c.mp4", "test/sit/d.mp4")
    found = read_videos(tmp_path)
    assert [len(part) for part in (found.train, found.val, found.test)] == [2, 1, 1]
    assert rows(found.test, tmp_path) == [("test/sit/d.mp4", (1,))]


def test_a_class_of_the_validation_part_alone_is_named(tmp_path):
    fill(tmp_path, "train/run/a.mp4", "val/run/b.mp4", "val/sit/c.mp4")
    assert "no training video: sit" in read_videos(tmp_path).notes


def test_parts_beside_classes_are_refused_and_a_class_may_be_called_train(tmp_path):
    fill(tmp_path, "train/x/a.mp4", "bus/b.mp4")
    assert read_videos(tmp_path, val_share=0).classes == ("bus", "train")
    fill(tmp_path, "test/bus/d.mp4")
    with pytest.raises(ValueError, match="look like parts and 'bus' like a class"):
        read_videos(tmp_path)
    shutil.rmtree(tmp_path / "test")
    fill(tmp_path, "val/x/c.mp4")
    with pytest.raises(ValueError, match="train, val look like parts and 'bus' like a class"):
        read_videos(tmp_path)


def test_a_folder_of_images_is_a_video_of_the_rate_that_was_given(tmp_path):
    fill(tmp_path, "run/clip1/1.jpg", "run/clip1/2.jpg", "run/clip1/log.txt", "run/a.mp4", "run/thumb.jpg")
    found = read_videos(tmp_path, val_share=0, fps=12.0)
    assert {(sample.video.name, sample.fps) for sample in found.train} == {("clip1", 12.0), ("a.mp4", None)}
    assert "left out: 2 files that are no videos" in found.notes  # the log and the thumbnail
    with pytest.raises(ValueError, match="there are none"):
        read_videos(fill(tmp_path / "files", "run/a.mp4"), fps=12.0)


def test_links_to_folders_are_not_followed(tmp_path):
    fill(tmp_path, "set/run/a.mp4", "elsewhere/secret.mp4")
    (tmp_path / "set/run/more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set/run/loop").symlink_to(tmp_path / "set")
    found = read_videos(tmp_path / "set", val_share=0)
    assert rows(found.train, tmp_path / "set") == [("run/a.mp4", (0,))]
    assert "left out: 2 links to folders" in found.notes


def test_a_folder_without_a_video_is_no_class(tmp_path):
    fill(tmp_path, "run/a.mp4", "docs/readme.md")
    found = read_videos(tmp_path, val_share=0)
    assert found.classes == ("run",)
    assert "left out: 1 folder without a video, so no class: docs" in found.notes
    with pytest.raises(ValueError, match=r"no videos; expected .*<class>/<video>"):
        read_videos(tmp_path / "docs")


def test_groups_by_a_pattern_in_the_path(tmp_path):
    fill(tmp_path, *(f"{action}/{who}_{action}.mp4" for action in ("run", "sit") for who in ("ann", "bob", "cy")))
    found = read_videos(tmp_path, group_from=r"([^/_]+)_[^/]*$", val_share=0.34)
    assert {sample.group for sample in found.samples()} == {"ann", "bob", "cy"}
    assert len({sample.group for sample in found.val}) == 1
    with pytest.raises(ValueError, match=r"finds nothing in 'run/ann_run\.mp4'"):
        read_videos(tmp_path, group_from="person([0-9]+)")
    with pytest.raises(ValueError, match="no column, and no regular expression"):
        read_videos(tmp_path, group_from="(")


def test_ten_actions_of_nine_people_split_by_person(shared):
    found = read_videos(shared / "data/actions/weizmann", group_from="^.*/([a-z]+)_")
    people = [{sample.group for sample in part} for part in (found.train, found.val)]
    assert (len(found.classes), len(found.train), len(found.val)) == (10, 70, 20)
    assert (len(people[0]), len(people[1]), people[0] & people[1]) == (7, 2, set())
