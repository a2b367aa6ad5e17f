"""Which step it is, and which were not seen."""

import pytest

from hrcallbacks.selection.steps import Cadence
from hrcallbacks.session.clock import Clock


def clock_of_an_epoch(batches, per_execution, captured):
    """Executions that capture so many steps each, of an epoch that then ends."""
    clock = Clock(Cadence(1))
    clock.begin_fit(batches, per_execution)
    clock.begin_epoch(1)
    for number, count in enumerate(captured):
        start = number * per_execution
        clock.begin_execution(start, per_execution)
        for place in range(count):
            clock.take(place)
        if count:
            clock.end_execution(start + per_execution - 1, per_execution)
    return clock


@pytest.mark.parametrize(
    ("batches", "per_execution", "captured", "missed"),
    [
        (4, 1, [1, 1, 1, 1], []),
        (None, 1, [1, 1], []),
        (4, 3, [3, 1], []),
        (6, 3, [0, 3], [1, 2, 3]),
        # Of an unknown length: data ends within an execution, or with it.
        (None, 3, [3, 1], []),
        (None, 3, [3, 3, 0], []),
        (None, 3, [0, 3], [1, 2, 3]),
        (None, 3, [0, 0], [1, 2, 3]),
    ],
)
def test_steps_that_were_not_seen(batches, per_execution, captured, missed):
    assert clock_of_an_epoch(batches, per_execution, captured).missed == missed
