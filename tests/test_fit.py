"""What stands beside a recorder in an everyday `fit`."""

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.worked_example.backprop import mse_gradients

BACKEND = keras.config.backend()


def assert_closed_form(recording, batches):
    """Each record's gradient is that of its batch at its weights."""
    for t, (x, y) in zip(range(len(recording)), batches, strict=True):
        parameters = [recording.weights[path][t] for path in recording.paths]
        for path, expected in zip(
            recording.paths, mse_gradients(parameters, x, y), strict=True
        ):
            np.testing.assert_allclose(
                recording.gradients[path][t], expected, rtol=2e-6, atol=1e-6
            )


def split(line, size=5):
    x, y = line
    return [(x[i : i + size], y[i : i + size]) for i in range(0, len(x), size)]


class Sequence(keras.utils.PyDataset):
    def __init__(self, batches):
        super().__init__()
        self._batches = batches

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, index):
        return self._batches[index]


def as_torch_loader(batches):
    torch = pytest.importorskip("torch")
    x, y = (torch.as_tensor(np.concatenate(a)) for a in zip(*batches, strict=True))
    return torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x, y), batch_size=len(batches[0][0])
    )


def as_generator(batches):
    yield from batches


def as_tf_dataset(batches):
    tf = pytest.importorskip("tensorflow")
    x, y = (np.concatenate(a) for a in zip(*batches, strict=True))
    return tf.data.Dataset.from_tensor_slices((x, y)).batch(len(batches[0][0]))


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize(
    "as_data",
    [Sequence, as_torch_loader, as_tf_dataset, as_generator],
    ids=["PyDataset", "DataLoader", "tf.data", "generator"],
)
def test_each_kind_of_data_is_recorded(tiny, line, as_data):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    tiny.fit(as_data(split(line)), shuffle=False, verbose=0, callbacks=[recorder])
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4]
    assert_closed_form(recorder.recording, split(line))


def test_two_recorders_in_one_fit_each_get_their_own(tiny, line):
    every = hr.GradientRecorder(record_freq=1)
    some = hr.GradientRecorder("output/*", record_freq=3, weights_at="before")
    tiny.fit(
        *line, batch_size=5, epochs=2, shuffle=False, verbose=0, callbacks=[every, some]
    )
    assert every.recording.index["step"].tolist() == [*range(1, 9)]
    assert some.recording.index["step"].tolist() == [3, 6]
    for path in some.recording.paths:
        np.testing.assert_array_equal(
            some.recording.gradients[path], every.recording.gradients[path][[2, 5]]
        )
        np.testing.assert_array_equal(
            some.recording.weights[path], every.recording.weights[path][[1, 4]]
        )


def test_early_stopping_ends_the_recording(tiny, line):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = epoch == 1

    recorder = hr.GradientRecorder()
    tiny.fit(*line, batch_size=5, epochs=9, verbose=0, callbacks=[recorder, Stop()])
    assert recorder.recording.index["epoch"].tolist() == [1, 2]


def test_backup_and_restore_goes_on_where_it_was(tiny, line, tmp_path):
    class Interrupt(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    def backup():
        return keras.callbacks.BackupAndRestore(tmp_path / "backup")

    recorder = hr.GradientRecorder()
    arguments = {"batch_size": 5, "epochs": 4, "verbose": 0}
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(*line, callbacks=[recorder, backup(), Interrupt()], **arguments)
    tiny.fit(*line, callbacks=[recorder, backup()], **arguments)
    assert recorder.recording.index["epoch"].tolist() == [1, 2, 3, 4]
    assert recorder.recording.index["step"].tolist() == [4, 8, 12, 16]


def test_step_without_an_optimizer_warns_once_and_records_nothing(line):
    class Idle(keras.Model):
        def train_step(self, *args):
            return {"loss": 0.0} if BACKEND != "jax" else ({"loss": 0.0}, args[0])

    inputs = keras.Input((1,))
    model = Idle(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse")
    recorder = hr.GradientRecorder()
    with pytest.warns(UserWarning, match="No optimizer was called") as caught:
        model.fit(*line, epochs=3, verbose=0, callbacks=[recorder])
    assert sum("No optimizer" in str(w.message) for w in caught) == 1
    assert len(recorder.recording) == 0


def test_checkpoint_written_while_recording_loads_without_it(tiny, line, tmp_path):
    path = tmp_path / "last.weights.h5"
    checkpoint = keras.callbacks.ModelCheckpoint(path, save_weights_only=True)
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, batch_size=5, verbose=0, callbacks=[recorder, checkpoint])
    expected = tiny.get_weights()
    fresh = keras.models.clone_model(tiny)
    fresh.load_weights(path)
    for ours, theirs in zip(expected, fresh.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_recorder_cannot_serve_two_models_at_once(tiny, line):
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)], name="other")
    other.compile("sgd", loss="mse")
    recorder = hr.GradientRecorder()

    class FitAnother(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            other.fit(*line, verbose=0, callbacks=[recorder])

    with pytest.raises(ValueError, match="recording a fit of 'tiny', which is still"):
        tiny.fit(*line, verbose=0, callbacks=[recorder, FitAnother()])
