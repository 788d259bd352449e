"""Exports of annotation tools, in the forms that their makers document, become rows at moments one can count."""

import json
from xml.etree.ElementTree import Element, tostring

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from slowfast_hub.people.tables import are_boxes, read_boxes


def with_inner(element: Element, inner: list[Element], text: str) -> Element:
    element.extend(inner)
    element.text = text
    return element


def rows(path, **how) -> list[tuple]:
    return [(row.video, row.time_s, row.box, row.label, row.person) for row in read_boxes(path, **how).rows()]


def box(frame: int, x: float, *, outside: int = 0, keyframe: int = 1, inside: str = "") -> str:
    sides = f'xtl="{x:.2f}" ytl="20.00" xbr="{x + 40:.2f}" ybr="60.00"'
    return f'<box frame="{frame}" outside="{outside}" occluded="0" keyframe="{keyframe}" {sides}>{inside}</box>'


def cvat(*tracks: str, meta: str = "<source>films/a.mp4</source>") -> str:
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<annotations><version>1.1</version><meta><task><id>1</id>'
        f"<name>task</name><size>100</size><mode>interpolation</mode>{meta}<original_size><width>640</width><height>480</height>"
        f"</original_size></task></meta>{''.join(tracks)}</annotations>"
    )


def track(number: int, label: str, *boxes: str) -> str:
    return f'<track id="{number}" label="{label}" source="manual">{"".join(boxes)}</track>'


def ten(video: str, frame: int) -> float:
    """Seconds of a video of 10 frames a second."""
    assert video == "a.mp4"
    return frame / 10


@pytest.fixture
def file(tmp_path):
    """file(content, name): text as it is, all else as JSON."""

    def write(content, name="export"):
        (tmp_path / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return tmp_path / name

    return write


def test_a_cvat_track_goes_straight_from_box_to_box_and_ends_when_it_leaves(file):
    path = file(cvat(track(7, "run", box(5, 100), box(15, 120), box(25, 140, outside=1), box(38, 0), box(42, 0))))
    assert rows(path, seconds_of=ten) == [
        ("a.mp4", 1.0, (110, 20, 150, 60), "run", "7"),
        ("a.mp4", 2.0, (130, 20, 170, 60), "run", "7"),
        ("a.mp4", 4.0, (0, 20, 40, 60), "run", "7"),
    ]
    assert [row[1] for row in rows(path, seconds_of=ten, every_s=0.5)] == [0.5, 1.0, 1.5, 2.0, 4.0]
    assert are_boxes(path)


def test_every_moment_has_all_tracks_that_are_there(file):
    """A single box, as CVAT exports a shape, gives its own moment, and whoever else is there is in it."""
    path = file(cvat(track(0, "run", box(0, 100), box(20, 200)), track(1, "wave", box(13, 0), box(14, 0, outside=1))))
    found = [(time_s, person, sides[0]) for _, time_s, sides, _, person in rows(path, seconds_of=ten)]
    assert sorted(found) == [(0.0, "0", 100), (1.0, "0", 150), (1.3, "0", 165), (1.3, "1", 0), (2.0, "0", 200)]


def test_an_attribute_called_action_says_what_is_done_in_cvat(file):
    said = '<attribute name="Action">sit, talk</attribute><attribute name="hidden">false</attribute>'
    silent = '<attribute name="action">__undefined__</attribute>'
    path = file(cvat(track(0, "person", box(0, 0, inside=said), box(10, 0, inside=silent), box(11, 0, inside=said))))
    assert [(row[1], row[3]) for row in rows(path, seconds_of=ten)] == [(0, "sit"), (0, "talk"), (1, "person")]


def test_cvat_for_images_of_a_part_of_a_video_has_its_frames(file):
    """CVAT writes the frame of the video as the id of an image, whatever the task begins with and leaves out."""
    drawn = '<box label="run" xtl="1" ytl="2" xbr="3" ybr="4"/>'
    image = f'<image id="{{0}}" name="frame_{{0}}" width="640" height="480">{drawn}</image>'
    meta = "<start_frame>20</start_frame><frame_filter>step=5</frame_filter><source>a.mp4</source>"
    path = file(cvat(image.format(20), image.format(25), meta=meta))
    assert [(row[1], row[3]) for row in rows(path, seconds_of=ten)] == [(2.0, "run"), (2.5, "run")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '<!DOCTYPE a [<!ENTITY b "bb"><!ENTITY c "&b;&b;">]><annotations>&c;</annotations>',
            "declares a document type",
        ),
        ("<annotations><track", "no XML"),
        (cvat(), "no boxes; expected tracks"),
        (cvat('<track id="1" label="a"><box frame="1" xtl="1"/></track>'), "track 1: 'ytl' is missing"),
        ("<annotations><meta><project><id>1</id></project></meta></annotations>", "export each"),
        (
            cvat(track(1, "a", box(1, 0).replace('frame="1"', 'frame="one"'))),
            "track 1: a frame is a number from 0; got 'one'",
        ),
        (cvat(track(1, "a", box(1, 0).replace("0.00", "zero"))), "track 1: could not convert string to float"),
        ("<a>" * 200_000 + "</a>" * 200_000, "no boxes; expected tracks"),
    ],
)
def test_other_xml_is_refused(text, message, file):
    with pytest.raises(ValueError, match=message):
        read_boxes(file(text), seconds_of=ten)


def test_cvat_without_its_video_has_no_times(file):
    with pytest.raises(ValueError, match="CVAT counts frames and does not say at what rate"):
        read_boxes(file(cvat(track(0, "run", box(0, 0)))))


def test_tracks_that_last_for_years_are_counted_before_a_row_is_made(file, monkeypatch):
    monkeypatch.setattr("slowfast_hub.people.exports.rows_of", lambda *_: pytest.fail("rows were made"))
    years = box(0, 0), box(30_000_001, 0)
    for path in (
        file(cvat(track(0, "run", *years))),
        file(cvat(*(track(k, "run", *years[:1], box(9000, 0)) for k in range(2500)))),
    ):
        with pytest.raises(ValueError, match="more than 1,000,000 rows every 1 s; take a longer every_s"):
            read_boxes(path, seconds_of=ten)


def test_rows_are_counted_while_they_are_made_too(file, monkeypatch):
    """Nine boxes of a moment each, and ten people who are there all the time: ten moments, 109 rows."""
    long = [track(k, "run", box(0, 0), box(9, 0)) for k in range(10)]
    short = [track(10 + k, "run", box(k, 0), box(k + 1, 0, outside=1)) for k in range(1, 10)]
    path = file(cvat(*long, *short))
    monkeypatch.setattr("slowfast_hub.people.exports.MOST_ROWS", 109)
    assert len(read_boxes(path, seconds_of=ten)) == 109
    monkeypatch.setattr("slowfast_hub.people.exports.MOST_ROWS", 108)
    with pytest.raises(ValueError, match="more than 108 rows"):
        read_boxes(path, seconds_of=ten)


def test_what_is_done_at_once_is_counted_too(file, monkeypatch):
    monkeypatch.setattr("slowfast_hub.people.exports.MOST_ROWS", 19)
    said = f'<attribute name="action">{",".join("abcdefghij")}</attribute>'
    with pytest.raises(ValueError, match="more than 19 rows"):
        read_boxes(file(cvat(track(0, "run", box(0, 0, inside=said), box(10, 0, inside=said)))), seconds_of=ten)


@pytest.mark.parametrize("frame", ["9" * 22, "9" * 400, "9" * 5000, "9999999999", "-1", "1.0"])
def test_a_frame_that_no_video_has_is_refused(frame, file):
    path = file(cvat(track(0, "run", box(0, 0).replace('frame="0"', f'frame="{frame}"'))))
    with pytest.raises(ValueError, match=r"track 1: (a frame is a number from 0|a time is a number from 0)"):
        read_boxes(path, seconds_of=lambda video, frame: frame / 1)


def region(frame: int, x: float, *, enabled: bool = True) -> dict:
    """A key frame as Label Studio writes it, for 24 frames a second."""
    box = {"x": x, "y": 20.0, "width": 50.0, "height": 60.0, "rotation": 0}
    return {**box, "frame": frame, "enabled": enabled, "time": frame / 24}


def rectangle(*sequence: dict, labels: list[str], name: str = "r1") -> dict:
    value = {"framesCount": 240, "duration": 10.0, "sequence": list(sequence), "labels": labels}
    return {"value": value, "id": name, "from_name": "box", "to_name": "video", "type": "videorectangle"}


def task(*results: dict, video: str = "/data/upload/1/3d3ad63e-my%20film.mp4", **annotation: object) -> dict:
    return {"id": 5, "data": {"video": video}, "annotations": [{"id": 1, "result": list(results), **annotation}]}


def test_label_studio_counts_frames_from_one(file):
    """Frame 1 is at 0 s, and frame 25 of 24 a second at 1 s; boxes are in percent."""
    path = file([task(rectangle(region(1, 0), region(49, 40, enabled=False), labels=["Run"]))])
    found = rows(path)
    assert [(row[0], row[1], row[3], row[4]) for row in found] == [
        ("my film.mp4", 0.0, "Run", "r1"),
        ("my film.mp4", 1.0, "Run", "r1"),
    ]
    assert found[1][2] == pytest.approx((0.2, 0.2, 0.7, 0.8))
    assert read_boxes(path).unit == "normalised"
    assert are_boxes(path)


def test_a_track_of_label_studio_that_nobody_ends_goes_on_to_the_end_of_the_video(file):
    """10 s long: boxes at 0..9 s, the last where its last key frame left it."""
    path = file([task(rectangle(region(1, 0), region(25, 40), labels=["Run"]))])
    assert [(row[1], row[2][0]) for row in rows(path)] == [(0, 0), *((second, 0.4) for second in range(1, 10))]
    ended = rectangle(
        region(1, 0), region(25, 40, enabled=False), region(73, 40), region(97, 40, enabled=False), labels=[]
    )
    assert [row[1] for row in rows(file([task(ended)]))] == [0, 3]
    unknown = rectangle(region(1, 0), labels=["Run"])
    del unknown["value"]["duration"]
    assert [row[1] for row in rows(file([task(unknown)]))] == [0]


def test_boxes_at_an_angle_are_counted_in_a_note(file):
    path = file(cvat(track(0, "run", box(0, 0).replace("<box ", '<box rotation="45.0" '), box(10, 0))))
    assert read_boxes(path, seconds_of=ten).notes[1].endswith("1 boxes were drawn at an angle and are taken without it")
    path = file([task(rectangle({**region(1, 0), "rotation": 45}, region(25, 0), labels=["Run"]))])
    assert read_boxes(path).notes[1].endswith("1 boxes were drawn at an angle and are taken without it")
    assert len(read_boxes(file([task(rectangle(region(1, 0), labels=["Run"]))])).notes) == 1


def test_choices_of_a_region_say_what_is_done_in_label_studio(file):
    choice = {
        "type": "choices",
        "id": "r1",
        "value": {"choices": ["sit", "talk"]},
        "from_name": "c",
        "to_name": "video",
    }
    short = (region(1, 0), region(9, 0, enabled=False))
    results = (rectangle(*short, labels=["Person"]), rectangle(*short, labels=["Dog"], name="r2"), choice)
    assert [row[3:] for row in rows(file([task(*results)]))] == [("sit", "r1"), ("talk", "r1"), ("Dog", "r2")]


def test_the_annotation_that_counts_is_the_truth_or_the_last_that_was_not_cancelled(file):
    made = [
        {
            "result": [rectangle(region(1, 0), region(9, 0, enabled=False), labels=[name])],
            "was_cancelled": name == "c",
            "ground_truth": False,
        }
        for name in "abc"
    ]
    assert [row[3] for row in rows(file([{"data": {"video": "v.mp4"}, "annotations": made}]))] == ["b"]
    made[0]["ground_truth"] = True
    assert [row[3] for row in rows(file([{"data": {"video": "v.mp4"}, "annotations": made}]))] == ["a"]


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("https://host/films/b.mp4?token=a/b", "b.mp4"),
        ("/data/local-files/?d=films/b.mp4", "b.mp4"),
        ("..%2F..%2Fetc/passwd", "passwd"),
        ("C:\\films\\b.mp4", "b.mp4"),
    ],
)
def test_of_an_address_the_name_is_left(video, name, file):
    assert rows(file([task(rectangle(region(1, 0), labels=["a"]), video=video)]))[0][0] == name


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("[{", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ({"videos": []}, "JSON of another kind"),
        ([task(rectangle({"frame": 1}, labels=[]))], "task 1: 'x' is missing"),
        ([task({"type": "rectanglelabels", "value": {}})], "single pictures do not say when"),
        ([task(rectangle({**region(1, 0), "frame": float("inf")}, labels=[]))], "task 1: a time is a number from 0 to"),
        ([task(rectangle({**region(2, 0), "time": 1e300}, labels=[]))], "task 1: a time is a number from 0 to 1,000"),
        ([task(rectangle({**region(1, 0), "x": None}, labels=[]))], "task 1: 'x' is no number; got None"),
        ([task(rectangle({**region(1, 0), "x": "far"}, labels=[]))], "task 1: could not convert string to float"),
        ([task(rectangle({**region(1, 0), "frame": 0}, labels=[]))], "task 1: frames count from 1; got 0"),
        ([task({"type": "videorectangle", "value": {"sequence": [{**region(1, 0), "time": 0}]}})], "no `framesCount`"),
        ([task({"type": "videorectangle", "value": {"sequence": 7}})], "task 1: 'sequence' is no list; got 7"),
        ([task({"type": "videorectangle", "value": []})], "task 1: 'value' is no object; got a list"),
        ([task(rectangle(labels=["Run"]))], "no boxes in a video"),
        ([{"annotations": []}, 3], "task 1: 'data' is missing"),
    ],
)
def test_other_json_is_refused(content, message, file):
    with pytest.raises(ValueError, match=message):
        read_boxes(file(content))


def via(**metadata: dict) -> dict:
    """A project as VIA 3 writes it."""
    return {
        "project": {"pid": "__VIA_PROJECT_ID__", "creator": "VGG Image Annotator (http://www.robots.ox.ac.uk)"},
        "attribute": {
            "1": {"aname": "Activity", "type": 2, "options": {"0": "sit", "1": "talk"}},
            "2": {"aname": "comment", "type": 1, "options": {}},
            "3": {"aname": "person", "type": 1, "options": {}},
        },
        "file": {"1": {"fid": 1, "fname": "a.mp4", "type": 4, "loc": 3, "src": "/home/x/a.mp4"}},
        "view": {"1": {"fid_list": ["1"]}},
        "metadata": metadata,
    }


def test_via_has_rectangles_at_times_in_pixels(file):
    both = {"vid": "1", "z": [0.917], "xy": [2, 263, 184, 17, 13], "av": {"1": "0,1", "3": "ann"}}
    segment = {"vid": "1", "z": [2, 6.5], "xy": [], "av": {"1": "1"}}
    text = {"vid": "1", "z": [3], "xy": [2, 0, 0, 5, 5], "av": {"1": "", "2": "jump, high"}}
    path = file(via(a=both, b=segment, c=text))
    assert rows(path) == [
        ("a.mp4", 0.917, (263, 184, 280, 197), "sit", "ann"),
        ("a.mp4", 0.917, (263, 184, 280, 197), "talk", "ann"),
        ("a.mp4", 3.0, (0, 0, 5, 5), "jump, high", ""),
    ]
    assert read_boxes(path).unit == "px"
    assert are_boxes(path)


VIA_CSV = """# Exported using VGG Image Annotator (http://www.robots.ox.ac.uk/~vgg/software/via)
# Notes:
# SHAPE_ID = {"POINT":1,"RECTANGLE":2,"CIRCLE":3}
# FLAG_ID = {"RESERVED_FOR_FUTURE":1}
# ATTRIBUTE = {"4":{"aname":"Type","anchor_id":"FILE1_Z1_XY1","type":3,"desc":"","options":{"0":"Title","1":"Chart"}}}
# CSV_HEADER = metadata_id,file_list,flags,temporal_coordinates,spatial_coordinates,metadata
"1_j5sJvB9h","[""a.mp4""]",0,"[1.124,5.31493]","[]","{""4"":""0""}"
"1_zYQJk2sM","[""a.mp4""]",0,"[2.41892]","[2,162.25,176.5,639.5,192.25]","{""4"":""1""}"
"""


def test_vias_csv_says_the_same(file):
    path = file(VIA_CSV)
    assert rows(path) == [("a.mp4", 2.41892, (162.25, 176.5, 801.75, 368.75), "Chart", "")]
    assert are_boxes(path)
    with pytest.raises(ValueError, match=r"export:7: .*; expected a row of VIA's CSV"):
        read_boxes(file(VIA_CSV.replace('"[]"', '"["')))


@pytest.mark.parametrize("time_s", [-1.0, float("nan"), float("inf")])
def test_a_time_that_is_none_is_refused(time_s, file):
    with pytest.raises(ValueError, match=r"region 1 \('a'\): a time is a number from 0 to 1,000"):
        read_boxes(file(via(a={"vid": "1", "z": [time_s], "xy": [2, 0, 0, 5, 5], "av": {}})))


def test_a_via_project_of_pictures_has_no_times(file):
    with pytest.raises(ValueError, match=r"region 1 \('a'\): a box without a time"):
        read_boxes(file(via(a={"vid": "1", "z": [], "xy": [2, 0, 0, 5, 5], "av": {}})))


def test_a_project_of_via_of_another_form_is_named(file):
    region = {"vid": "1", "z": [1], "xy": [2, 0, 0, 5, 5], "av": {}}
    for changed, message in (
        ({"metadata": [region]}, "its regions: 'metadata' is no object; got a list"),
        ({"metadata": {"a": 3}}, r"region 1 \('a'\): 'region' is no object; got 3"),
        ({"metadata": {"a": {**region, "xy": [2, 0]}}}, "a rectangle is"),
        ({"metadata": {"a": {**region, "xy": {"0": 2}}}}, "'xy' is no list; got an object"),
        ({"metadata": {"a": {**region, "av": []}}}, "'av' is no object"),
        ({"metadata": {"a": {**region, "vid": ["1"]}}}, "a name or a number was expected; got a list"),
        ({"metadata": {"a": region}, "view": {}}, "'1' is missing"),
        ({"metadata": {"a": region}, "view": {"1": {"fid_list": []}}}, "'fid_list' is empty"),
    ):
        with pytest.raises(ValueError, match=message):
            read_boxes(file(via() | changed))
    with pytest.raises(
        ValueError, match=r"export:5: 'ATTRIBUTE' is no object; got a list; expected a row of VIA's CSV"
    ):
        read_boxes(file(VIA_CSV.replace('ATTRIBUTE = {"4"', 'ATTRIBUTE = [1]\n# WAS = {"4"')))


LEAF = st.none() | st.booleans() | st.integers() | st.just(10**400) | st.floats() | st.text(max_size=3)
JSON = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=2)
)
REGION = {"vid": "1", "z": [0.9], "xy": [2, 26, 18, 17, 13], "av": {"1": "0,1", "3": "ann"}}
CHOICE = {"type": "choices", "id": "r1", "value": {"choices": ["sit", "talk"]}}
WHOLE = (via(a=REGION), [task(rectangle(region(1, 0), region(49, 40), labels=["Run"]), CHOICE)])


def places(content, path=()) -> list[tuple]:
    """The road to each value in JSON."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def with_value(content, path, value):
    """JSON with another value in one place."""
    if not path:
        return value
    key, *rest = path
    items = content.items() if isinstance(content, dict) else enumerate(content)
    made = {each: with_value(inner, rest, value) if each == key else inner for each, inner in items}
    return made if isinstance(content, dict) else list(made.values())


def is_table_or_value_error(path) -> bool:
    try:
        return len(read_boxes(path, seconds_of=ten_of_any)) > 0
    except ValueError:
        return True


def ten_of_any(video: str, frame: int) -> float:
    return frame / 10


ANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@ANY
@given(st.data())
def test_any_json_gives_a_table_or_a_value_error(file, data):
    content = data.draw(st.sampled_from(WHOLE))
    for _ in range(data.draw(st.integers(1, 2))):
        content = with_value(content, data.draw(st.sampled_from(places(content))), data.draw(JSON))
    assert is_table_or_value_error(file(content))


TAG = st.sampled_from(["annotations", "meta", "task", "track", "image", "box", "attribute", "source", "start_frame"])
NAME = st.sampled_from(["id", "label", "frame", "outside", "xtl", "ytl", "xbr", "ybr", "name"])
VALUE = st.sampled_from(["0", "1", "25", "-1", "1e9", "inf", "nan", "9" * 5000, "action", "", "a,b"])
XML = st.recursive(
    st.builds(Element, TAG, st.dictionaries(NAME, VALUE)),
    lambda inner: st.builds(
        with_inner, st.builds(Element, TAG, st.dictionaries(NAME, VALUE)), st.lists(inner, max_size=3), VALUE
    ),
    max_leaves=8,
)


@ANY
@given(XML)
def test_any_xml_gives_a_table_or_a_value_error(file, root):
    assert is_table_or_value_error(file(tostring(root, encoding="unicode")))
