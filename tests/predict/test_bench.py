import json
from dataclasses import replace

import pytest
import torch
from made_networks import TINY, noise, tiny_network
from made_videos import write_video

from slowfast_hub.models.count import count
from slowfast_hub.predict import bench as module
from slowfast_hub.predict.bench import Bench, Conditions, Machine, bench, find_network, memory_mb, this_machine
from slowfast_hub.zoo.registry import DEFAULT_MODEL, list_models

CPU = torch.device("cpu")
MACHINE = Machine("a processor", 1, torch.__version__, "cpu", "cpu", "float32", matrix_rate=1e11)
ROW = Bench("a", "float32", 2, "10x3", 50.0, 4.0, 1.0, 80.0, multiply_adds=10**9, matrix_rate=1e11)


@pytest.fixture(scope="module")
def video(tmp_path_factory) -> str:
    return str(write_video(tmp_path_factory.mktemp("video") / "a.mkv", noise(90), fps=30))


def test_what_follows_from_the_measured_figures():
    assert ROW.views_per_second == 20  # one in 50 ms
    assert ROW.decode_share == 0.25  # one second of four
    assert ROW.rate_fraction == pytest.approx(0.4)  # 2e9 FLOP in 0.05 s are 4e10 a second
    assert replace(ROW, decode_s=4.1).decode_share == 1
    record = json.loads(json.dumps(ROW.as_json()))
    assert (record["views_per_second"], record["decode_share"], record["multiply_adds"]) == (20, 0.25, 10**9)


def test_a_network_is_measured_in_a_fresh_process(video):
    row = bench("tiny", TINY, MACHINE, Conditions(video, views="2x3", batch_size=4, repeats=2))
    assert (row.network, row.dtype, row.batch_size, row.views) == ("tiny", "float32", 4, "2x3")
    assert row.multiply_adds == count(TINY).multiply_adds
    assert row.matrix_rate == 1e11  # that of the machine it was told of
    assert row.ms_per_view > 0
    assert row.video_s > 0
    assert 0 < row.decode_share <= 1
    # At least the weights and their copy: 4 bytes a number.
    assert row.peak_mb is None or row.peak_mb > 2 * 4 * count(TINY).parameters / 1e6


def test_an_error_of_the_fresh_process_is_raised_here(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        bench("tiny", TINY, MACHINE, Conditions(str(tmp_path / "none.mp4"), repeats=1))


def test_the_first_run_is_not_counted_and_the_median_is(monkeypatch):
    ticks = iter([0, 100, 100, 101, 101, 103, 103, 112])  # runs of 100, 1, 2 and 9 seconds
    monkeypatch.setattr(module.time, "perf_counter", lambda: next(ticks))
    assert module.median_seconds(lambda: None, 3, CPU) == 2


@pytest.mark.parametrize(("views", "sizes"), [("2x3", [4, 2]), ("1x1", [1]), ("dense", [1])])
def test_the_network_sees_the_last_batch_before_the_counted_road_and_the_whole_road_in_it(views, sizes, video):
    model, seen = tiny_network(), []
    forward = model.forward_features
    model.forward_features = lambda clips, stage="res5": seen.append(len(clips)) or forward(clips, stage)
    decode_s, video_s = module.road_seconds(model, Conditions(video, views=views), 4, CPU)
    assert seen == [sizes[-1], *sizes]
    assert min(decode_s, video_s) > 0


def test_no_batch_of_the_counted_road_is_of_a_kind_that_the_network_has_not_seen(video, monkeypatch):
    """For each kind torch.compile builds anew, which takes many times as long as the road."""
    model, seen = tiny_network(), []
    forward, run_views = model.forward_features, module.run_views

    def forward_features(clips, stage="res5"):
        seen.append((clips.shape, clips.stride(), clips.is_inference(), torch.is_inference_mode_enabled()))
        return forward(clips, stage)

    def counted(*arguments, **options):
        before = set(seen)
        logits = run_views(*arguments, **options)
        assert set(seen) == before
        return logits

    model.forward_features = forward_features
    monkeypatch.setattr(module, "prepare", lambda network, **how: model)
    monkeypatch.setattr(module, "run_views", counted)
    module.measure("tiny", TINY, MACHINE, Conditions(video, views="2x3", batch_size=4, repeats=1))
    assert {shape[0] for shape, *_ in seen} == {4, 2}


def test_the_rate_is_that_of_a_product_of_2048():
    machine = this_machine("cpu")
    assert (machine.device, machine.dtype, machine.threads) == ("cpu", "float32", torch.get_num_threads())
    assert machine.processor
    assert 1e8 < machine.matrix_rate < 1e15  # a product is 2 * 2048^3 FLOP


def test_a_network_that_stayed_with_float32_is_compared_with_products_of_float32(video, monkeypatch):
    monkeypatch.setattr(module, "matrix_rate", lambda device, dtype: {torch.float32: 5.0}[dtype])
    row = module.measure("tiny", TINY, replace(MACHINE, dtype="bfloat16"), Conditions(video, views="1x1", repeats=1))
    assert (row.dtype, row.matrix_rate) == ("float32", 5.0)


def test_the_peak_counts_what_was_given_back():
    before = memory_mb(CPU)
    if before is None:
        pytest.skip("the system does not say")
    torch.ones(25_000_000)  # 100 MB, and gone
    assert 95 < memory_mb(CPU, peak=True) - before < 120
    assert memory_mb(CPU, peak=True) - memory_mb(CPU) > 95  # the second one begins anew
    assert memory_mb(CPU, peak=True) - before < 20


def test_usual_networks_are_rows_and_the_first_is_the_embedded_one():
    assert module.USUAL[0] == DEFAULT_MODEL
    assert set(module.USUAL) <= set(list_models())
    assert [find_network(name).clip.frames for name in module.USUAL] == [32, 32, 32, 8, 64]


def test_a_tag_brings_its_own_fields():
    assert not find_network("slowfast_r50_4x16.mm_k400").lateral_norm
    assert find_network("slowfast_r50_4x16").lateral_norm


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("slowfast_r50_8x9", "did you mean 'slowfast_r50_8x8'"),
        ("slowfast_r50_8x8.nothing", "no weights called"),
        ("slowfast_det_r50_4x16", "is a detector"),
    ],
)
def test_what_cannot_be_measured_is_named(name, said):
    with pytest.raises((ValueError, LookupError), match=said):
        find_network(name)


@pytest.mark.parametrize("wrong", [{"views": "many"}, {"repeats": 0}, {"batch_size": 0}])
def test_conditions_check_themselves(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Conditions("a.mp4", **wrong)
