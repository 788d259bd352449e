"""`slowfast-hub weights ...`: the manifest's own names, and a server on this machine in place of their addresses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from local_server import LocalServer, file, running_server
from made_files import made_of
from typer.testing import CliRunner

from slowfast_hub.apps import weights
from slowfast_hub.apps.cli import app
from slowfast_hub.zoo import convert, manifest
from slowfast_hub.zoo.registry import list_models, weights_info

EMBEDDED = "slowfast_r14_4x16_w16.hub_actions16"
SLOW, SLOW_SSV2 = "slow_r50_8x8.ptv_k400", "slow_r50_8x8.ptv_ssv2"


def run(*arguments: object):
    return CliRunner().invoke(app, ["weights", *map(str, arguments)])


@pytest.fixture(autouse=True)
def cache(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(
        convert, "convert_file", lambda source, target, **told: target.write_bytes(made_of(source.read_bytes()))
    )
    return empty_cache


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalServer]:
    """Serves the two files of Slow R50 8x8 of PyTorchVideo, on Kinetics and on Something-Something."""
    with running_server() as local:
        records = dict(manifest.WEIGHTS())
        for name in (SLOW, SLOW_SSV2):
            url = local.serve(f"/{name}", file(name.encode()))
            origin = replace(records[name].origin, url=url, alternatives=(), digest=None)
            records[name] = replace(records[name], origin=origin)
        for module in ("manifest", "registry"):
            monkeypatch.setattr(f"slowfast_hub.zoo.{module}.WEIGHTS", lambda: records)
        yield local


def test_list_has_a_line_for_every_file_with_its_place_and_the_figure_of_its_makers():
    lines = run("list").stdout.splitlines()
    assert [line.split()[0] for line in lines] == list_models(pretrained=True)
    by_name = {line.split()[0]: line for line in lines}
    assert by_name[EMBEDDED].split()[1:] == ["package", "3.4", "MB", "Apache-2.0"]
    assert by_name[SLOW].split()[1:] == ["not", "here", "Apache-2.0", "top-1", "74.6", "kinetics400"]
    assert by_name["slow_det_r50_4x16.ptv_ava22"].endswith("mAP 19.5 ava2.2")


def test_list_takes_a_wildcard_and_speaks_json(server):
    run("download", SLOW)
    rows = {row["name"]: row for row in json.loads(run("list", "slow_r50_8x8.ptv*", "--json").stdout)}
    assert {SLOW, SLOW_SSV2} <= set(rows) == set(list_models("slow_r50_8x8.ptv*", pretrained=True))
    assert rows[SLOW] == {
        "name": SLOW,
        "where": "cache",
        "bytes": len(made_of(SLOW.encode())),
        "reported": "top-1 74.6 kinetics400",
        "license": "Apache-2.0",
    }
    assert rows[SLOW_SSV2]["where"] == "not here"
    assert run("list", "no_such*").stdout == ""


def test_show_says_every_field_of_the_record():
    shown = run("show", SLOW).stdout.splitlines()
    info = weights_info(SLOW)
    for line in (f"name: {SLOW}", "num_classes: 400", f"origin.url: {info.origin.url}", "clip.frames: 8", "path: None"):
        assert line in shown
    assert "labels: 400: abseiling, air drumming," in "\n".join(shown)
    record = json.loads(run("show", EMBEDDED, "--json").stdout)
    assert len(record["labels"]) == 16
    assert Path(record["path"]).is_file()
    assert record["hosted"]["sha256"] == weights_info(EMBEDDED).hosted.sha256


@pytest.mark.parametrize("command", ["show", "download", "verify", "publish"])
@pytest.mark.parametrize(
    ("name", "message"),
    [("slow_r50_8x9", "did you mean 'slow_r50_8x8'"), ("slow_r50_8x8.none", "no weights called 'slow_r50_8x8.none'")],
)
def test_unknown_name_is_usage_and_names_the_near_one(tmp_path, command: str, name: str, message: str):
    result = run(command, name, *([tmp_path / "out"] if command == "publish" else []))
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr


def test_download_prints_the_path_of_each_file_of_a_wildcard_once(server, cache):
    result = run("download", SLOW, "slow_r50_8x8.ptv_*k400", SLOW_SSV2)
    assert result.exit_code == 0, result.stderr
    assert [Path(line) for line in result.stdout.splitlines()][:1] == [cache / f"{SLOW}.safetensors"]
    assert sorted(result.stdout.split()) == [str(cache / f"{name}.safetensors") for name in (SLOW, SLOW_SSV2)]
    assert [seen.path for seen in server.seen] == [f"/{SLOW}", f"/{SLOW_SSV2}"]


def test_wildcard_without_a_match_is_usage():
    result = run("download", "none*")
    assert result.exit_code == 2
    assert "no file of weights matches 'none*'" in result.stderr


def test_download_goes_on_behind_a_failure_and_exits_with_one(server, cache):
    del server.paths[f"/{SLOW}"]
    result = run("download", SLOW, SLOW_SSV2)
    assert result.exit_code == 1
    assert result.stdout == f"{cache / SLOW_SSV2}.safetensors\n"
    assert f"error: {SLOW} cannot be had: {server.url}/{SLOW}: 404, there is no such file" in result.stderr


def test_changed_file_is_found_by_verify_and_repaired_by_the_command_it_names(server, cache):
    run("download", SLOW, SLOW_SSV2)
    path = cache / f"{SLOW}.safetensors"
    path.write_bytes(b"other")
    result = run("verify")
    assert result.exit_code == 1
    assert sorted(result.stdout.splitlines()) == [f"changed: {SLOW}", f"ok: {SLOW_SSV2}", f"ok: {EMBEDDED}"]
    assert result.stderr == f"repair: slowfast-hub weights download {SLOW} --force\n"
    assert "changed since it was made" in run("download", SLOW).stderr
    assert run(*result.stderr.split()[3:]).exit_code == 0
    assert run("verify", SLOW).stdout == f"ok: {SLOW}\n"
    assert len(server.seen) == 3


def test_verify_says_what_is_missing_only_when_it_was_asked_for(server):
    assert run("verify").stdout == f"ok: {EMBEDDED}\n"
    result = run("verify", SLOW, "--json")
    assert result.exit_code == 1
    assert json.loads(result.stdout) == [
        {"name": SLOW, "state": "missing", "path": None, "sha256": None, "expected": None}
    ]


def test_another_original_needs_trust_new(server, cache):
    run("download", SLOW)
    server.serve(f"/{SLOW}", file(b"new"))
    result = run("download", SLOW, "--force")
    assert result.exit_code == 1
    command = f"slowfast-hub weights download {SLOW} --trust-new"
    assert command in result.stderr
    assert run(*command.split()[2:]).exit_code == 0
    assert (cache / f"{SLOW}.safetensors").read_bytes() == made_of(b"new")


def test_mirror_serves_another_cache(server, cache, tmp_path, monkeypatch):
    result = run("mirror", tmp_path / "m", "slow_r50_8x8.ptv_k40?", SLOW_SSV2, EMBEDDED)
    assert result.exit_code == 0, result.stderr
    names = sorted((SLOW, SLOW_SSV2, EMBEDDED))
    assert sorted(result.stdout.split()) == [str(tmp_path / "m" / f"{name}.safetensors") for name in names]
    assert list(json.loads((tmp_path / "m" / "mirror.json").read_text())) == names
    server.paths.clear()
    monkeypatch.setenv("SLOWFAST_HUB_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("SLOWFAST_HUB_MIRROR", str(tmp_path / "m"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert run("download", SLOW).stdout == f"{tmp_path / 'other' / SLOW}.safetensors\n"


@pytest.mark.parametrize("arguments", [(), (SLOW, "--all")], ids=["neither", "both"])
def test_mirror_needs_names_or_all(tmp_path, arguments):
    result = run("mirror", tmp_path / "m", *arguments)
    assert result.exit_code == 2
    assert "Pass names, or --all" in result.stderr
    assert not (tmp_path / "m").exists()


def test_publish_writes_a_folder_and_prints_what_the_manifest_shall_say(tmp_path):
    result = run("publish", EMBEDDED, tmp_path / "out", "--repo", "org/name")
    assert result.exit_code == 0, result.stderr
    hosted = json.loads(result.stdout)
    assert (hosted["repo"], hosted["revision"]) == ("org/name", None)
    assert hosted["bytes"] == (tmp_path / "out" / hosted["file"]).stat().st_size
    assert {"config.json", "model.safetensors", "README.md"} <= {path.name for path in (tmp_path / "out").iterdir()}


def test_push_needs_a_repository(tmp_path):
    result = run("publish", EMBEDDED, tmp_path / "out", "--push")
    assert result.exit_code == 2
    assert "--push needs --repo org/name" in result.stderr


def test_reported_figures_are_those_of_the_record():
    assert weights.reported(weights_info(EMBEDDED)) == ""
    assert weights.reported(weights_info(SLOW)) == "top-1 74.6 kinetics400"
