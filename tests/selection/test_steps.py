import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hrcallbacks as hr
from hrcallbacks.selection.steps import Cadence


@pytest.mark.parametrize("freq", [0, -3])
def test_frequency_below_one_is_refused(freq):
    with pytest.raises(ValueError, match=f"1 or more.*record_freq={freq}"):
        Cadence(freq)


@pytest.mark.parametrize(
    "freq", [True, 1.5, None, "batch", lambda: True, lambda step, batch: True]
)
def test_other_frequencies_are_refused(freq):
    with pytest.raises(TypeError, match="Expected record_freq"):
        Cadence(freq)


def test_schedules_take_numpy_integers_and_read_as_typed():
    assert repr(hr.every(np.int64(3), start=np.int8(2))) == repr(hr.every(3, start=2))
    assert repr(hr.log_spaced(np.int64(3))) == "log_spaced(per_decade=3)"
    assert repr(hr.at(np.array([5, 1]))) == "at([1, 5])"


@pytest.mark.parametrize("three", [3, np.int64(3)])
def test_int_wants_every_nth_step_of_the_run(three):
    cadence = Cadence(three)
    assert [s for s in range(1, 10) if cadence.wants(s, 1, 10)] == [3, 6, 9]


def test_epoch_wants_its_last_step_and_any_where_that_is_unknown():
    cadence = Cadence("epoch")
    assert [b for b in range(1, 6) if cadence.wants(b, b, 5)] == [5]
    assert [b for b in range(1, 6) if cadence.wants(b, b, None)] == [1, 2, 3, 4, 5]


def test_callable_is_asked_with_the_step():
    cadence = Cadence(lambda step: step in {2, 8})
    assert [s for s in range(1, 10) if cadence.wants(s, 1, 10)] == [2, 8]


def test_every_nth_step_from_start_to_stop():
    freq = hr.every(4, start=3, stop=12)
    assert [s for s in range(1, 30) if freq(s)] == [3, 7, 11]


def test_log_spaced_has_so_many_steps_a_decade():
    freq = hr.log_spaced(per_decade=5)
    chosen = np.array([s for s in range(1, 100_001) if freq(s)])
    expected = {round(10 ** (k / 5)) for k in range(26)}
    assert set(chosen) == expected


def test_at_takes_these_steps():
    assert [s for s in range(1, 200) if hr.at([1, 2, 5, 100])(s)] == [1, 2, 5, 100]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: hr.every(0), "n: an int, 1 or more.*n=0"),
        (lambda: hr.every(5, start=0), "start"),
        (lambda: hr.every(5, start=9, stop=8), "start=9.*stop=8"),
        (lambda: hr.log_spaced(0), "per_decade"),
        (lambda: hr.at([]), "at least one"),
        (lambda: hr.at([0, 3]), "steps.*0"),
    ],
)
def test_what_would_never_record_is_refused(make, text):
    with pytest.raises(ValueError, match=text):
        make()


@pytest.mark.parametrize(
    ("freq", "count"),
    [
        ("epoch", 4),
        (1, 40),
        (3, 14),
        (7, 5),
        (hr.every(3, start=60, stop=70), 4),
        (hr.at([1, 51, 52, 90, 91]), 3),
        (hr.log_spaced(10), 2),
    ],
)
def test_count_of_a_fits_records(freq, count):
    cadence = Cadence(freq)
    # Four epochs of ten steps, after fifty others.
    assert cadence.count(51, 4, 10) == count
    steps = [(s, (s - 51) % 10 + 1) for s in range(51, 91)]
    assert sum(cadence.wants(s, b, 10) for s, b in steps) == count


@settings(max_examples=200, deadline=None)
@given(
    freq=st.one_of(
        st.builds(hr.every, st.integers(1, 9), st.integers(1, 40)),
        st.builds(hr.every, st.integers(1, 9), st.integers(1, 9), st.integers(9, 60)),
        st.builds(hr.log_spaced, st.integers(1, 400)),
        st.builds(hr.at, st.lists(st.integers(1, 80), min_size=1)),
    ),
    first=st.integers(1, 70),
    steps=st.integers(1, 200),
)
def test_schedules_count_what_they_say_step_by_step(freq, first, steps):
    asked = range(first, first + steps)
    assert freq.count(first, first + steps - 1) == sum(map(freq, asked))


@pytest.mark.parametrize("freq", [hr.every(3), hr.log_spaced(9), hr.at([7])])
def test_counting_a_long_run_does_not_ask_each_step(freq, monkeypatch):
    def refuse(self, step):
        raise AssertionError(f"asked for step {step}")

    monkeypatch.setattr(type(freq), "__call__", refuse)
    assert Cadence(freq).count(1, 10**6, 10**6) > 0


def test_count_that_cannot_be_told():
    assert Cadence(2).count(1, 4, None) is None
    asked = []
    assert Cadence(lambda step: asked.append(step) or True).count(1, 4, 10) is None
    assert asked == []
    assert Cadence("epoch").count(1, 4, None) == 4
