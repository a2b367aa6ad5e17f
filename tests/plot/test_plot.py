import inspect
import os
import subprocess
import sys
import typing

import keras
import numpy as np
import pytest
from matplotlib.text import Text
from plot_recordings import layered, published, recording_of

import hrcallbacks as hr
from hrcallbacks.storage import zarr_store
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.types import Fit

pytestmark = pytest.mark.usefixtures("figures")

# All that take a recording.
FUNCTIONS = [
    hr.plot.loss,
    hr.plot.trajectories,
    hr.plot.gradient_flow,
    hr.plot.update_ratio,
    hr.plot.heatmap,
    hr.plot.histograms,
    hr.plot.network,
    hr.plot.activations,
    hr.plot.units,
    hr.plot.backward_flow,
    hr.plot.network_animation,
]
STILL = FUNCTIONS[:-1]
OF_LAYERS = FUNCTIONS[-4:-1]


def drawable(function, recording, *, count=2):
    """The recording, or one of layers' outputs for a function that draws those."""
    if function not in OF_LAYERS:
        return recording
    rng = np.random.default_rng(0)
    arrays = {f"net/layer_{n}": rng.normal(size=(60, 5, 4)) for n in range(count)}
    return layered(arrays, arrays)


def test_each_function_is_a_method_of_a_recording():
    plots = published(0.1).plot
    for function in FUNCTIONS:
        method = getattr(plots, function.__name__)
        assert f"`hr.plot.{function.__name__}`" in method.__doc__
        assert function.__name__ in repr(plots)


def test_the_methods_are_the_functions_that_take_a_recording():
    methods = {n: m for n, m in vars(hr.plot.Plots).items() if not n.startswith("_")}
    assert set(methods) == {function.__name__ for function in FUNCTIONS}
    assert all(inspect.isfunction(method) for method in methods.values())


def signature_of(function):
    """How a function is called with one recording, which comes first."""
    # An overload, if there is one for recordings and one for runs.
    of_one, *_ = typing.get_overloads(function) or [function]
    signature = inspect.signature(of_one)
    several = "Runs" in str(inspect.signature(function).parameters["recording"])
    parameters = [
        parameter
        for name, parameter in signature.parameters.items()
        # One recording cannot be grouped.
        if not (name == "by" and several and parameter.default is None)
    ]
    return signature.replace(parameters=parameters)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_method_has_the_signature_of_its_function_but_for_the_recording(function):
    signature = signature_of(function)
    recording, *others = signature.parameters.values()
    assert recording.name == "recording"
    method = inspect.signature(getattr(published(0.1).plot, function.__name__))
    assert method == signature.replace(parameters=others)
    # Type checkers see through no wrapper.
    assert not hasattr(getattr(hr.plot.Plots, function.__name__), "__wrapped__")
    for parameter in others:
        assert parameter.annotation is not parameter.empty


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_method_passes_each_of_its_arguments_on(monkeypatch, function):
    recording, calls = published(0.1), []
    monkeypatch.setattr(
        f"hrcallbacks.plot.accessor.{function.__name__}",
        lambda *args, **options: calls.append((args, options)),
    )
    options = {n: object() for n in list(signature_of(function).parameters)[1:]}
    getattr(recording.plot, function.__name__)(**options)
    assert calls == [((recording,), options)]


@pytest.mark.filterwarnings("ignore:Animation was deleted:UserWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_returned_has_its_figure(figures, function):
    recording = drawable(function, published(0.1))
    made = function(recording)
    assert made.figure is figures.gcf()
    several = "axes" in inspect.signature(function).parameters
    assert several == isinstance(made, np.ndarray)
    if several:
        assert made[:1].figure is made.figure
        made = function(recording, axes=np.array(made).tolist())
        assert made.figure is figures.gcf()


# Pixels of a figure's width on a phone of 390, and the least that its text may have.
COLUMN, LEAST = 358, 10


def many(count):
    """A recording of dense layers, one after the other, and of a convolution's size."""
    rng = np.random.default_rng(0)
    arrays = {f"layer_{n}/kernel": rng.normal(size=(60, 4, 4)) for n in range(count)}
    return recording_of(arrays, arrays, loss=rng.random(60))


@pytest.mark.parametrize("function", STILL)
@pytest.mark.parametrize("of", [published(0.1), many(1), many(3), many(12)])
def test_text_can_be_read_on_a_phone(figures, function, of):
    of = drawable(function, of, count=len(of.paths))
    figure = function(of).figure
    given = (
        [figure]
        if function is not hr.plot.loss
        else [figure, hr.plot.loss({f"run {n}": of for n in range(9)}).figure]
    )
    for figure in given:
        figure.draw_without_rendering()
        texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text()]
        assert texts
        # A page shows what the figure holds and a tenth of an inch around it.
        width = figure.get_tightbbox().width + 0.2
        smallest = min(text.get_fontsize() for text in texts)
        assert smallest / 72 / width * COLUMN >= LEAST, (width, smallest)


def test_a_method_draws_what_the_function_does(figures):
    recording = published(0.3)
    _, ax = figures.subplots()
    assert recording.plot.loss(ax=ax, log=True) is ax
    assert ax.get_yscale() == "log"
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), recording.index["loss"])


def test_without_matplotlib_the_extra_is_named():
    script = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import hrcallbacks as hr\n"
        "from plot_recordings import layered, published\n"
        "arrays = {'a': [[[1.0]]]}\n"
        "of_layers = layered(arrays, arrays)\n"
        "kinds = {'activations', 'units', 'backward_flow'}\n"
        "others = {'Plots', 'theme', 'save_animation'}\n"
        "for name in set(hr.plot.__all__) - others:\n"
        "    recording = of_layers if name in kinds else published(0.1)\n"
        "    try: getattr(hr.plot, name)(recording)\n"
        "    except ImportError as error: print(name, error)\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": ":".join(sys.path)},
    )
    assert result.stdout.count('pip install "hrcallbacks[plot]"') == len(FUNCTIONS)


def test_matplotlib_is_loaded_when_a_function_is_called():
    script = (
        "import sys, hrcallbacks as hr; hr.plot.loss; hr.plot.theme('dark')\n"
        "assert 'matplotlib' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_empty_recording_is_refused(function):
    with pytest.raises(ValueError, match=r"recording is empty.*callbacks="):
        function(hr.Recording.of(MemoryStore().snapshot()))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_is_no_recording_is_refused(function):
    with pytest.raises(TypeError, match=r"hr.open_recording\('run.zarr'\)"):
        function("run.zarr")
    with pytest.raises(TypeError, match=r"GradientRecorder.*recorder.recording"):
        function(hr.GradientRecorder())
    with pytest.raises(TypeError, match=r"Expected a recording\. Received: int"):
        function(3)


@pytest.mark.parametrize("function", STILL)
@pytest.mark.parametrize(
    ("records", "value"),
    [(1, 0.0), (1, np.nan), (3, 0.0), (3, np.nan), (3, np.inf), (3, 3e38)],
)
def test_a_single_unit_of_any_value_is_drawn(function, records, value):
    arrays = {
        "a/kernel": np.full((records, 1, 1), value),
        "a/bias": np.full((records, 1), value),
    }
    recording = recording_of(arrays, arrays, loss=[value] * records)
    if function in OF_LAYERS:
        arrays = {"a": np.full((records, 1, 1), value)}
        recording = layered(arrays, arrays)
    if function is hr.plot.update_ratio and records == 1:
        with pytest.raises(ValueError, match="of two consecutive steps"):
            function(recording)
    else:
        function(recording)


class DrawWhileRunning(keras.callbacks.Callback):
    """Plots a store before its first record, and after its first epoch."""

    def __init__(self, recorder, path):
        super().__init__()
        self.recorder, self.path = recorder, path
        self.refused = ""
        self.losses = None

    def on_epoch_begin(self, epoch, logs=None):
        self.recorder._session.intake.wait()
        live = hr.open_recording(self.path)
        if epoch == 0:
            with pytest.raises(ValueError, match="empty") as refusal:
                hr.plot.loss(live)
            self.refused = str(refusal.value)
        else:
            assert not live.attributes["complete"]
            axes = {function: np.ravel(function(live)) for function in STILL}
            self.losses = axes[hr.plot.loss][0].lines[0].get_ydata()


def test_a_store_still_being_written_is_drawn(tiny, line, tmp_path, monkeypatch):
    monkeypatch.setattr(zarr_store, "_SHORTEST_SECONDS", 0.0)
    path = tmp_path / "run.zarr"
    of_layers = {"outputs": "raw", "output_gradients": "raw"}
    recorder = hr.GradientRecorder(record_freq=1, store=path, **of_layers)
    watcher = DrawWhileRunning(recorder, path)
    tiny.fit(*line, epochs=2, batch_size=5, verbose=0, callbacks=[recorder, watcher])
    assert "is going on" in watcher.refused
    expected = recorder.recording.index["loss"][:4]
    np.testing.assert_array_equal(watcher.losses, expected)


def test_an_empty_store_of_a_run_that_goes_on_says_so():
    store = MemoryStore()
    store.begin_fit(Fit())
    with pytest.raises(ValueError, match=r"run is going on.*hr.open_recording"):
        hr.plot.loss(hr.Recording.of(store.snapshot()))
