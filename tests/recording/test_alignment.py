import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import network, recording_of

import hrcallbacks as hr
from hrcallbacks.recording.alignment import aligned_paths, renamed


def unnamed(units=3):
    """A model whose names Keras makes up."""
    layers = [keras.Input((1,)), keras.layers.Dense(units), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile("sgd", loss="mse", jit_compile=False)
    return model


def test_models_of_one_process_have_the_paths_of_a_fresh_one():
    keras.utils.clear_session()
    fresh = [v.path for v in unnamed().trainable_variables]
    unnamed()
    keras.layers.Dense(1)  # Counted too.
    later = [[v.path for v in unnamed().trainable_variables] for _ in range(2)]
    assert later[0] != later[1]
    for paths in later:
        assert not {*paths} & {*fresh}
    names = aligned_paths(later)
    assert [[*name.values()] for name in names] == [fresh, fresh]
    assert [[*name] for name in names] == later


def renaming(*runs):
    return [[*names.values()] for names in aligned_paths(runs)]


@pytest.mark.parametrize(
    ("runs", "expected"),
    [
        # One run, and equal ones, stay as they are.
        ([["net_3/a_1"]], [["net_3/a_1"]]),
        ([["net_3/a_1"], ["net_3/a_1"]], [["net_3/a_1"], ["net_3/a_1"]]),
        # Gaps stay: of a layer that is frozen in both.
        (
            [["d/k", "d_2/k"], ["d_5/k", "d_7/k"]],
            [["d/k", "d_2/k"], ["d/k", "d_2/k"]],
        ),
        # Names of the user's: block_1 is frozen in the second run.
        (
            [["block_1/k", "block_2/k"], ["block_2/k"]],
            [["block_1/k", "block_2/k"], ["block_2/k"]],
        ),
        (
            [["block_1/k", "block_2/k"], ["block_1/k", "block_3/k"]],
            [["block_1/k", "block_2/k"], ["block_1/k", "block_3/k"]],
        ),
        # A deeper network beside a shallow one.
        (
            [["s/d/k", "s/d_1/k"], ["s_1/d_2/k", "s_1/d_3/k", "s_1/d_4/k"]],
            [["s/d/k", "s/d_1/k"], ["s/d/k", "s/d_1/k", "s/d_2/k"]],
        ),
        # 007 is no number of Keras'.
        ([["agent_007/k"], ["agent_008/k"]], [["agent_007/k"], ["agent_008/k"]]),
    ],
)
def test_numbers_that_keras_counts_on_are_dropped_and_others_kept(runs, expected):
    assert renaming(*runs) == expected


@given(
    st.lists(
        st.lists(
            st.lists(st.sampled_from(["a", "a_1", "a_2", "b", "b_1"]), min_size=1).map(
                "/".join
            ),
            unique=True,
        ),
        min_size=1,
    )
)
def test_no_two_paths_of_a_run_get_the_same_name(runs):
    for paths, names in zip(runs, aligned_paths(runs), strict=True):
        assert len(set(names.values())) == len(paths)


def test_a_renamed_recording_has_the_same_numbers():
    recording = recording_of(network())
    names = {path: path.replace("net", "other") for path in recording.paths}
    other = renamed(recording, names)
    assert other.paths == [*names.values()]
    for path, name in names.items():
        np.testing.assert_array_equal(other.gradients[name], recording.gradients[path])
    assert [*other.has_gradient] == [*names.values()]
    assert renamed(recording, {path: path for path in names}) is recording


def test_a_renamed_recording_can_be_replayed(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, epochs=2, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    names = {path: f"new/{path}" for path in recording.paths}
    result = renamed(recording, names).replay()
    assert result.max_error == recording.replay().max_error
