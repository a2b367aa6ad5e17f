"""Progress bars, on a clock that goes as the test says."""

import io
import itertools
import re
import threading

import pytest
import tqdm

import hrcallbacks as hr
from hrcallbacks.progress import elapsed, progress


class Terminal(io.StringIO):
    def __init__(self):
        super().__init__()
        self.written = threading.Event()

    def isatty(self):
        return True

    def write(self, text):
        self.written.set()
        return super().write(text)


@pytest.fixture
def seconds(monkeypatch):
    """Makes each look at the clock find it so many seconds later."""

    def seconds(step):
        clock = itertools.count(1000.0, step)
        monkeypatch.setattr(tqdm.std, "time", lambda: next(clock))
        # Its own clock would look at the bars, and at this clock, in a thread.
        monkeypatch.setattr(tqdm.tqdm, "monitor_interval", 0)

    return seconds


def written(monkeypatch, stream):
    monkeypatch.setattr("sys.stderr", stream)
    assert list(progress(range(5), of="Replaying", unit="record")) == [*range(5)]
    return stream.getvalue()


def test_long_work_shows_how_far_it_has_come(monkeypatch, seconds):
    seconds(2)
    shown = written(monkeypatch, Terminal())
    assert "Replaying:  40%" in shown
    assert "2/5 [" in shown
    assert "s/ records]" in shown
    assert shown.endswith("\r")  # Nothing of it is left.


def test_short_work_is_quiet(monkeypatch, seconds):
    seconds(0.01)
    assert written(monkeypatch, Terminal()) == ""


def test_nothing_is_shown_where_nobody_looks(monkeypatch, seconds):
    seconds(2)
    assert written(monkeypatch, io.StringIO()) == ""


def test_what_has_no_total_shows_the_time_it_took(monkeypatch, seconds):
    seconds(2)
    monkeypatch.setattr("hrcallbacks.progress._TICK", 0)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with elapsed("Asking VizieR"):
        assert terminal.written.wait(timeout=60)
    assert re.search(r"Asking VizieR: 00:\d\d", terminal.getvalue())
    assert "%" not in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


def test_a_server_that_fails_ends_the_clock(monkeypatch, seconds):
    seconds(2)
    monkeypatch.setattr("sys.stderr", Terminal())
    threads = threading.active_count()
    with pytest.raises(ConnectionError), elapsed("Asking VizieR"):
        raise ConnectionError
    assert threading.active_count() == threads


def test_replay_and_parquet_show_their_progress(
    tiny, line, tmp_path, monkeypatch, seconds
):
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, batch_size=10, verbose=0, callbacks=[recorder])
    seconds(2)
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    recorder.recording.replay()
    recorder.recording.to_parquet(tmp_path / "run.parquet")
    assert "Replaying: 100%" in terminal.getvalue()
    assert f"Writing {tmp_path / 'run.parquet'}: 100%" in terminal.getvalue()
