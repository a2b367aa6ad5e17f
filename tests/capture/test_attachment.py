import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.worked_example.backprop import mse_gradients

BACKEND = keras.config.backend()


def batches(line):
    x, y = line
    return [(x[i : i + 5], y[i : i + 5]) for i in range(0, 20, 5)]


def assert_closed_form(recording, batches):
    assert len(recording) == len(batches)
    for t, (x, y) in enumerate(batches):
        parameters = [recording.weights[path][t] for path in recording.paths]
        expected = mse_gradients(parameters, x, y)
        for path, gradient in zip(recording.paths, expected, strict=True):
            np.testing.assert_allclose(
                recording.gradients[path][t], gradient, rtol=2e-6, atol=1e-6
            )


def hand_written_step(model, optimizer, x, y):
    """One eager training step, without Keras' trainer."""
    variables = model.trainable_variables
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(model(x) - y))
        optimizer.apply(tape.gradient(loss, variables), variables)
    elif BACKEND == "jax":
        import jax

        def loss_of(values):
            output, _ = model.stateless_call(values, [], x)
            return ((output - y) ** 2).mean()

        optimizer.apply(jax.grad(loss_of)([v.value for v in variables]), variables)
    else:
        import torch

        model.zero_grad()
        ((model(x) - torch.as_tensor(y)) ** 2).mean().backward()
        with torch.no_grad():
            optimizer.apply([v.value.grad for v in variables], variables)


def test_train_on_batch_is_recorded(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    with recorder.attached(tiny):
        for x, y in batches(line):
            tiny.train_on_batch(x, y)
    assert_closed_form(recorder.recording, batches(line))
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("held", [True, False])
def test_hand_written_loop_is_recorded(tiny, line, held):
    optimizer = tiny.optimizer if held else keras.optimizers.SGD(0.1)
    optimizer.build(tiny.trainable_variables)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    with recorder.attached(tiny, *([] if held else [optimizer])):
        for x, y in batches(line):
            hand_written_step(tiny, optimizer, x, y)
    assert_closed_form(recorder.recording, batches(line))


def test_model_that_was_never_compiled_is_recorded(tiny, line):
    optimizer = keras.optimizers.SGD(0.1)
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(3, "relu"), keras.layers.Dense(1)]
    )
    optimizer.build(model.trainable_variables)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    with recorder.attached(model, optimizer):
        hand_written_step(model, optimizer, *line)
    assert_closed_form(recorder.recording, [line])


def test_the_whole_block_is_one_epoch(tiny, line):
    recorder = hr.GradientRecorder()
    with recorder.attached(tiny):
        for x, y in batches(line):
            tiny.train_on_batch(x, y)
    assert recorder.recording.index[["step", "epoch"]].to_numpy().tolist() == [[4, 1]]


def test_cadence_is_kept_and_a_later_fit_goes_on(tiny, line):
    recorder = hr.GradientRecorder(record_freq=3)
    with recorder.attached(tiny):
        for x, y in batches(line):
            tiny.train_on_batch(x, y)
    tiny.fit(*line, batch_size=5, verbose=0, callbacks=[recorder])
    assert recorder.recording.index["step"].tolist() == [3, 6]


def test_training_is_unchanged_and_nothing_stays(tiny, line):
    start = tiny.get_weights()
    ends = []
    for attach in (False, True):
        tiny.set_weights(start)
        tiny.compile(keras.optimizers.Adam(), loss="mse", jit_compile=False)
        recorder = hr.GradientRecorder(record_freq=1)
        if attach:
            with recorder.attached(tiny):
                tiny.train_on_batch(*line)
        else:
            tiny.train_on_batch(*line)
        assert "apply" not in vars(tiny.optimizer)
        assert "stateless_apply" not in vars(tiny.optimizer)
        assert "train_step" not in vars(tiny)
        ends.append(tiny.get_weights())
        tiny.train_on_batch(*line)
        assert len(recorder.recording) == int(attach)
    for plain, recorded in zip(*ends, strict=True):
        np.testing.assert_array_equal(plain, recorded)


def test_exception_in_the_block_keeps_records_and_leaves_the_model(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)

    def broken_loop():
        with recorder.attached(tiny):
            tiny.train_on_batch(*line)
            raise RuntimeError("broke")

    with pytest.raises(RuntimeError, match="broke"):
        broken_loop()
    tiny.train_on_batch(*line)
    assert len(recorder.recording) == 1
    assert not recorder.recording.attributes["complete"]


@pytest.mark.skipif(BACKEND == "torch", reason="PyTorch's loops run eagerly")
def test_compiled_loop_of_ones_own_is_named_not_broken(tiny, line):
    optimizer = tiny.optimizer
    optimizer.build(tiny.trainable_variables)
    recorder = hr.GradientRecorder(record_freq=1)
    with pytest.warns(RuntimeWarning, match="compiled function of your own"):
        compiled_loop(tiny, optimizer, line, recorder)
    assert len(recorder.recording) == 0


def compiled_loop(model, optimizer, data, recorder):
    with recorder.attached(model):
        if BACKEND == "tensorflow":
            import tensorflow as tf

            tf.function(lambda: hand_written_step(model, optimizer, *data))()
        else:
            import jax

            values = [v.value for v in model.trainable_variables]
            jax.jit(optimizer.stateless_apply)(
                [v.value for v in optimizer.variables], values, values
            )


@pytest.mark.skipif(BACKEND != "jax", reason="its loops are of other words")
def test_two_optimizers_in_a_loop_of_jax(tiny, line):
    import jax

    first, last = tiny.layers[0].trainable_variables, tiny.layers[1].trainable_variables
    trained = [(keras.optimizers.SGD(0.5), first), (keras.optimizers.Adam(), last)]
    for optimizer, variables in trained:
        optimizer.build(variables)

    def loss_of(values, x, y):
        return ((tiny.stateless_call(list(values), [], x)[0] - y) ** 2).mean()

    grad = jax.jit(jax.grad(loss_of))
    handed = []
    recorder = hr.GradientRecorder(record_freq=1)
    with recorder.attached(tiny, *(optimizer for optimizer, _ in trained)):
        for x, y in batches(line):
            for place, (optimizer, variables) in enumerate(trained):
                values = [v.value for v in tiny.trainable_variables]
                grads = grad(values, x, y)[2 * place : 2 * place + 2]
                handed.append(grads)
                updated, state = optimizer.stateless_apply(
                    [v.value for v in optimizer.variables],
                    grads,
                    [v.value for v in variables],
                )
                for v, value in zip(variables, updated, strict=True):
                    v.assign(value)
                for v, value in zip(optimizer.variables, state, strict=True):
                    v.assign(value)
    recording = recorder.recording
    assert len(recording) == len(handed)
    for record, grads in enumerate(handed):
        place = record % 2
        for number, path in enumerate(recording.paths):
            if number // 2 == place:
                np.testing.assert_array_equal(
                    recording.gradients[path][record], grads[number % 2]
                )
            else:
                assert not recording.has_gradient[path][record]
                # Nobody tells where a loop without state keeps the other weights.
                assert np.isnan(recording.weights[path][record]).all()
    rates = recording.index[["learning_rate", "learning_rate_2"]].to_numpy()
    np.testing.assert_allclose(rates[0::2, 0], 0.5)
    np.testing.assert_allclose(rates[1::2, 1], 0.001)


def test_attached_and_among_the_callbacks_is_refused(tiny, line):
    recorder = hr.GradientRecorder()

    def both():
        with recorder.attached(tiny):
            tiny.fit(*line, verbose=0, callbacks=[recorder])

    with pytest.raises(ValueError, match=r"already attached to the model.*Use either"):
        both()
    assert int(tiny.optimizer.iterations) == 0


def test_block_in_which_nothing_is_seen_says_so(tiny):
    recorder = hr.GradientRecorder()

    def nothing():
        with recorder.attached(tiny):
            pass

    with pytest.warns(UserWarning, match=r"Nothing was seen.*attached\(model, optim"):
        nothing()


def test_what_is_no_model_is_refused():
    with (
        pytest.raises(TypeError, match=r"keras\.Model.*'model'"),
        hr.GradientRecorder().attached("model"),
    ):
        pass
