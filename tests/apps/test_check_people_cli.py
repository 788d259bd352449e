"""`slowfast-hub data check` of people: from files to findings, by the same report and exit codes."""

import json
from pathlib import Path

import pytest
import typer
from made_videos import moving, write_video
from typer.testing import CliRunner

from slowfast_hub.apps import data

root = typer.Typer()
root.add_typer(data.app, name="data")
HEADER = "video,time,x1,y1,x2,y2,label,split\n"


def check(*arguments: object):
    return CliRunner().invoke(root, ["data", "check", *map(str, arguments), "--workers", "0"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three videos of 4 s and more, and two people in each."""
    lines = []
    for place, (name, part) in enumerate((("a", "train"), ("b", "train"), ("c", "val"))):
        write_video(tmp_path / f"{name}.mkv", moving(60 + 4 * place, height=36, width=48), fps=15)
        for time in (1, 2):
            lines.append(
                f"{name}.mkv,{time},0.0,0.1,0.5,0.9,run,{part}\n{name}.mkv,{time},0.5,0.1,1.0,0.9,sit,{part}\n"
            )
    (tmp_path / "people.csv").write_text(HEADER + "".join(lines))
    return tmp_path


def kinds(result) -> list[str]:
    return [each["kind"] for each in json.loads(result.stdout)["findings"]]


def test_a_table_of_boxes_is_known_and_a_good_one_gives_zero(folder):
    result = check(folder / "people.csv")
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines() == ["3 files, 2 classes: train 4, val 2", "people: run 6, sit 6", "no errors"]
    assert "12 rows, boxes normalised" in result.stderr


def test_mistakes_give_one_and_a_report_with_lines(folder):
    text = (folder / "people.csv").read_text() + "c.mkv,40,0.1,0.1,0.5,0.5,run,val\na.mkv,3,9,9,30,20,run,train\n"
    (folder / "people.csv").write_text(text)
    result = check(folder / "people.csv", "--task", "detection", "--out", folder / "report", "--json")
    assert result.exit_code == 1, result.output
    assert kinds(result) == ["unit", "moment"]
    assert (folder / "report/bad.csv").read_text().splitlines()[1:] == [
        ",boxes in the wrong unit,,people.csv:15",
        ",moments outside their video,,people.csv:14",
    ]
    assert "1 of 14 rows in error are left out here" in result.stderr
    page = (folder / "report/report.html").read_text()
    assert "people.csv:15 [9, 9, 30, 20]: is in pixels" in page
    assert "people.csv:14 (40 s)" in page


def test_findings_about_rows_are_counted_in_rows(folder):
    text = (folder / "people.csv").read_text() + "a.mkv,3,9,9,30,20,run,train\na.mkv,3,9,9,40,20,sit,train\n"
    (folder / "people.csv").write_text(text)
    result = check(folder / "people.csv")
    assert "error: boxes in the wrong unit: 2 rows. To do: " in result.stdout


def test_a_time_that_no_video_has_is_told_without_a_traceback(folder):
    (folder / "people.csv").write_text(f"{HEADER}a.mkv,1e306,0.1,0.1,0.5,0.5,run,train\n")
    result = check(folder / "people.csv")
    assert result.exit_code == 2
    assert "people.csv:2: a time is a number from 0" in "".join(result.stderr.split("\n"))


def test_a_film_that_cannot_be_read_is_a_finding(folder):
    (folder / "a.mkv").write_bytes(b"no film")
    result = check(folder / "people.csv", "--json")
    assert (result.exit_code, "unreadable" in kinds(result)) == (1, True)


def test_options_of_people_are_passed_on(folder):
    (folder / "found.csv").write_text("video,time,x1,y1,x2,y2\nc.mkv,1,0.1,0.1,0.5,0.5\n")
    result = check(folder / "people.csv", "--found", folder / "found.csv", "--unit", "px", "--json")
    assert sorted(set(kinds(result))) == ["no score", "unit"]
    assert result.exit_code == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{folder}/people.csv", "--task", "detect"], "--task must be one of 'classification', 'detection'"),
        (["{folder}/people.csv", "--unit", "percent"], "--unit must be one of"),
        (["{folder}/people.csv", "--videos", "{folder}/report"], "not a folder"),
        (["{folder}/people.csv", "--multilabel"], "--multilabel/--one-label: these are boxes of people"),
        (["{folder}", "--excluded", "e.csv", "--task", "classification"], "--excluded: these are whole videos"),
    ],
)
def test_what_is_asked_wrongly_gives_two(arguments, message, folder):
    result = check(*(argument.format(folder=folder) for argument in arguments))
    assert result.exit_code == 2
    assert message in result.stderr
