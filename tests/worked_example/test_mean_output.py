import keras
import numpy as np
import pytest

import hrcallbacks as hr


def test_mean_output_is_the_mean_over_batches_of_any_size():
    metric = hr.MeanOutput()
    batches = [np.array([[1.0], [2.0], [6.0]]), np.array([[11.0]])]
    for outputs in batches:
        metric.update_state(np.zeros_like(outputs), outputs)
    assert float(metric.result()) == pytest.approx(5.0)


def test_mean_output_takes_sample_weights():
    metric = hr.MeanOutput()
    metric.update_state([[0.0], [0.0]], [[1.0], [5.0]], sample_weight=[3.0, 1.0])
    assert float(metric.result()) == pytest.approx(2.0)


def test_mean_output_comes_back_from_its_config():
    metric = hr.MeanOutput(name="prediction")
    config = keras.saving.serialize_keras_object(metric)
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, hr.MeanOutput)
    assert again.name == "prediction"
