import time

from slowfast_hub.trainer.checkpoint import Progress
from slowfast_hub.trainer.journal import LOG, Timer, advice, append_line, read_lines, rewind
from slowfast_hub.trainer.report import write_report


def test_a_timer_knows_how_long_was_waited():
    timer = Timer()
    for _ in timer.waiting(iter([0, 0])):
        time.sleep(0.02)
    assert timer.wait_s < 0.02 < 0.04 <= timer.seconds


def test_advice_is_given_where_clips_are_waited_for():
    timer = Timer()
    timer.begin, timer.wait_s = time.perf_counter() - 10, 6.0
    assert "60 % of the time was spent waiting for clips: try more workers (now 2)" in advice(timer.waited, 2)[0]
    assert advice(0.1, 2) == ("10 % of the time was spent waiting for clips", 0.0)


def test_advice_is_given_again_where_much_more_is_waited():
    assert advice(0.45, 2, told=0.4) == ("45 % of the time was spent waiting for clips", 0.4)
    text, told = advice(0.65, 2, told=0.4)
    assert "try more workers" in text
    assert told == 0.65


def test_a_log_forgets_what_comes_after_a_checkpoint(tmp_path):
    for step in (1, 2, 3):
        append_line(tmp_path / LOG, {"kind": "step", "step": step})
    with (tmp_path / LOG).open("a") as file:
        file.write('{"kind": "st')  # cut off by a power failure
    assert [record["step"] for record in read_lines(tmp_path / LOG)] == [1, 2, 3]
    rewind(tmp_path, 2, 2)
    append_line(tmp_path / LOG, {"kind": "test", "step": 2})
    rewind(tmp_path, 2, 2)
    assert [record["step"] for record in read_lines(tmp_path / LOG)] == [1, 2, 2]
    rewind(tmp_path, 2, 1)
    assert [record["kind"] for record in read_lines(tmp_path / LOG)] == ["step", "step"]


def test_progress_keeps_the_best_and_of_equal_tests_the_last():
    progress, kept, worse = Progress(), [], []
    for answer in (0.5, 0.4, 0.5, 0.6):
        kept.append(progress.better(answer))
        progress.take(answer, kept=kept[-1])
        worse.append(progress.worse)
    assert kept == [True, False, True, True]
    assert worse == [0, 1, 2, 0]
    assert progress.best == 0.6


def test_a_report_escapes_what_comes_from_files(tmp_path):
    run = tmp_path / "<b>run"
    run.mkdir()
    append_line(run / LOG, {"kind": "step", "step": 1, "loss": 1.0, "lr": 0.1})
    append_line(
        run / LOG,
        {"kind": "epoch", "step": 1, "epoch": 1, "loss": 1.0, "accuracy": 0.5, "seconds": 2.0, "wait_seconds": 1.0},
    )
    (run / "recipe.toml").write_text('model = "<script>alert(1)</script>"')
    page = write_report(run).read_text()
    assert "<script>" not in page
    assert "&lt;b&gt;run" in page
    assert "50 % waiting for clips" in page
    assert "<svg" in page
