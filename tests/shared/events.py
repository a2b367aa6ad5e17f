"""TensorBoard's own reader of event files, for tests."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util


def read(folder):
    """All that TensorBoard finds in a run: by tag, the step and array of each point."""
    run = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    run.Reload()
    return {
        tag: [
            (event.step, tensor_util.make_ndarray(event.tensor_proto))
            for event in run.Tensors(tag)
        ]
        for tag in run.Tags()["tensors"]
    }


def plugin_of(folder, tag):
    """Which of TensorBoard's dashboards shows a tag, and its description."""
    run = EventAccumulator(str(folder))
    run.Reload()
    metadata = run.SummaryMetadata(tag)
    return metadata.plugin_data.plugin_name, metadata.summary_description


def steps(points):
    return [step for step, _ in points]


def values(points):
    return [value for _, value in points]
