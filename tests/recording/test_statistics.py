import numpy as np
import pytest
from synthetic import network, recording_of

import hrcallbacks as hr


def norms_of(arrays):
    """Their norm by record, of all together: of one long vector."""
    flat = [np.asarray(a, np.float64).reshape(len(a), -1) for a in arrays.values()]
    return np.linalg.norm(np.concatenate(flat, axis=1), axis=1)


def test_the_norm_of_all_gradients_is_that_of_one_long_vector():
    gradients = network()
    recording = recording_of(gradients, {p: 2 * a for p, a in gradients.items()})
    found = recording.statistic("gradients", "global_norm")
    assert [*found] == ["global_norm"]
    assert found.index.name == "step"
    np.testing.assert_allclose(found["global_norm"], norms_of(gradients), rtol=1e-6)
    weights = recording.statistic("weights", "global_norm")["global_norm"]
    np.testing.assert_allclose(weights, 2 * norms_of(gradients), rtol=1e-6)


def test_it_is_made_of_norms_or_raw_values_whichever_each_variable_has():
    gradients = network()
    raw = dict(list(gradients.items())[:2])
    reduced = {
        f"{path}:norm": norms_of({path: array})
        for path, array in gradients.items()
        if path not in raw
    }
    shapes = {path: array.shape[1:] for path, array in gradients.items()}
    recording = recording_of(raw | reduced, shapes=shapes)
    found = recording.statistic("gradients", "global_norm")["global_norm"]
    np.testing.assert_allclose(found, norms_of(gradients), rtol=1e-6)


def test_a_variable_without_gradient_adds_nothing_and_nan_makes_it_nan():
    gradients = network()
    lacking = "net/output/bias"
    others = {path: a for path, a in gradients.items() if path != lacking}
    others["net/hidden/kernel"][3, 0, 0] = np.nan
    found = recording_of(gradients, lacking=[lacking]).statistic(
        "gradients", "global_norm"
    )["global_norm"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [3]
    np.testing.assert_allclose(found, norms_of(others), rtol=1e-6)
    none = recording_of(gradients, lacking=[*gradients])
    assert none.statistic("gradients", "global_norm")["global_norm"].isna().all()


def test_it_is_refused_where_a_variable_has_no_norm():
    gradients = network()
    gradients["net/output/bias:max"] = gradients.pop("net/output/bias").max(axis=1)
    recording = recording_of(gradients, shapes={"net/output/bias": (2,)})
    message = r"norm of all gradients together.*'norm'\. .*\['net/output/bias'\]"
    with pytest.raises(ValueError, match=message):
        recording.statistic("gradients", "global_norm")
    with pytest.raises(ValueError, match="norm of all weights together"):
        recording.statistic("weights", "global_norm")


def test_it_is_what_the_logs_have(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Logs()])
    tiny.fit(*line, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    found = recording.statistic("gradients", "global_norm")["global_norm"]
    logged = recording.index["gradient_norm"]
    np.testing.assert_allclose(found, logged, rtol=1e-6)
