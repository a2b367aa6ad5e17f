import hypothesis.extra.numpy as hnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hrcallbacks import blocks as blocks_module
from hrcallbacks.diagnose.tracks import Activity, Track

FLAGS = hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 4)))
NEVER = np.iinfo(np.int64).max


def brute_force(seen):
    """First, last and longest silence before the last, of one unit's flags."""
    where = [n for n, flag in enumerate(seen) if flag]
    if not where:
        return NEVER, -1, 0
    gaps = [b - a - 1 for a, b in zip([-1, *where], where, strict=False)]
    return where[0], where[-1], max(gaps)


def activity(seen):
    return Activity.none(seen.shape[1]).followed_by(seen, 0)


def triples(activity):
    return [*zip(*(part.tolist() for part in activity.parts), strict=True)]


@given(FLAGS, st.integers(0, 12))
def test_activity_is_that_of_each_unit_in_blocks_too(seen, cut):
    expected = [brute_force(unit) for unit in seen.T]
    assert triples(activity(seen)) == expected
    cut = min(cut, len(seen))
    first = Activity.none(seen.shape[1]).followed_by(seen[:cut], 0)
    assert triples(first.followed_by(seen[cut:], cut)) == expected


@given(FLAGS, st.randoms())
def test_either_of_two_is_bounded_by_both_together(seen, random):
    other = np.array([[random.random() < 0.3 for _ in row] for row in seen])
    made = triples(activity(seen).or_(activity(other)))
    for got, unit in zip(made, (seen | other).T, strict=True):
        first, last, gap = brute_force(unit)
        assert got[:2] == (first, last)
        assert gap <= got[2] <= max(last, 0)


def test_a_long_silence_is_not_hidden_by_a_unit_that_was_never_seen():
    seen = np.zeros((10, 1), bool)
    seen[[0, 8]] = True
    never = np.zeros((10, 1), bool)
    assert triples(activity(seen).or_(activity(never))) == [(0, 8, 7)]


def test_a_track_is_the_same_in_one_go_and_in_parts(monkeypatch):
    array = np.random.default_rng(0).normal(size=(9, 2, 3)).astype("float32")
    array[3:6, :, 1] = 0
    array[7, 0, 0] = np.nan
    there = np.arange(9) != 2

    def track(*counts, changes):
        made = Track((2, 3), changes=changes)
        for count in counts:
            made.read(array[:count], there[:count])
        return made

    for changes in (False, True):
        whole, parts = track(9, changes=changes), track(4, 4, 7, 9, changes=changes)
        monkeypatch.setattr(blocks_module, "_ELEMENTS", 12)
        monkeypatch.setattr(blocks_module, "_READ_BYTES", 50)
        blocks = track(9, changes=changes)
        monkeypatch.undo()
        for other in (parts, blocks):
            np.testing.assert_array_equal(whole.norms, other.norms)
            np.testing.assert_array_equal(whole.change_norms, other.change_norms)
            np.testing.assert_array_equal(whole.nonfinite, other.nonfinite)
            for axis, activity in whole.activity.items():
                assert triples(activity) == triples(other.activity[axis])


def test_norms_and_changes_are_numpys():
    array = np.random.default_rng(0).normal(size=(5, 2, 3))
    track = Track((2, 3), changes=True)
    track.read(array, np.ones(5, bool))
    flat = array.reshape(5, 6)
    np.testing.assert_allclose(track.norms, np.linalg.norm(flat, axis=1))
    steps = np.linalg.norm(np.diff(flat, axis=0), axis=1)
    np.testing.assert_allclose(track.change_norms, [np.nan, *steps])


def test_a_scalar_and_a_vector_have_tracks():
    scalar = Track((), changes=False)
    scalar.read(np.array([1.0, -2.0]), np.ones(2, bool))
    np.testing.assert_array_equal(scalar.norms, [1, 2])
    vector = Track((3,), changes=False)
    vector.read(np.array([[0, 1, 0], [1, 0, 0]]), np.ones(2, bool))
    assert triples(vector.activity[-1]) == [(1, 1, 1), (0, 0, 0), (NEVER, -1, 0)]
