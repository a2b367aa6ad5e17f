"""What is checked before a fit begins."""

from collections.abc import Mapping
from typing import Any

from hrcallbacks.session.caller import Stack
from hrcallbacks.session.model_fit import ModelFit, Waiting
from hrcallbacks.session.probes import Probes
from hrcallbacks.session.settings import Settings
from hrcallbacks.storage.memory_limit import too_large
from hrcallbacks.storage.store import Store


def check_data(fit: ModelFit) -> None:
    """Refuses a fit without data.

    Raises:
        ValueError: If an epoch has no steps.
    """
    if fit.batches == 0:
        raise ValueError(
            "There is no data to train on: an epoch has 0 steps. "
            "Pass at least one sample to fit."
        )


def check_model(fit: ModelFit, earlier: ModelFit | None, records: int) -> None:
    """Refuses another model than that of the fits before.

    Args:
        fit: The fit.
        earlier: One before, if there was one.
        records: How many records there are of it.

    Raises:
        ValueError: If it has another model.
    """
    if earlier is not None and earlier.model is not fit.model:
        raise ValueError(
            "This recorder belongs to another model, "
            f"{earlier.model.name!r}, of which it holds {records} "
            f"records; now it is to record {fit.model.name!r}. Use one recorder for "
            "each model, or call recorder.reset() first."
        )


def check_free(model: Any, *, running: Any, attached: bool) -> None:
    """Refuses a recorder that is at work.

    Args:
        model: The model that it is to record.
        running: The model of a fit that it records, or None.
        attached: Whether it records outside of `fit`.

    Raises:
        ValueError: If it is at work.
    """
    if attached:
        raise ValueError(
            "This recorder is attached to the model already, by recorder.attached("
            "model). Use either that or fit(..., callbacks=[recorder])."
        )
    if running is not None:
        raise ValueError(
            f"This recorder is recording a fit of {running.name!r}, which "
            f"still runs; this fit of {model.name!r} was refused. Use one recorder "
            "for each fit that runs at the same time."
        )


def check_once(waiting: Mapping[int, Waiting]) -> None:
    """Refuses a recorder that is among the callbacks of a fit twice.

    Args:
        waiting: By thread, fits that were let in and have not begun.

    Raises:
        ValueError: If it is.
    """
    here = Stack.here()
    before = waiting.get(here.thread)
    common = before and before.stack.common(here)
    # Keras' loop over the callbacks of a fit goes on.
    if common and common.f_code.co_name == "on_train_begin":
        raise ValueError(
            "This recorder appears twice in the callbacks of a fit. Pass it once."
        )


def check_size(
    fit: ModelFit,
    epoch: int,
    steps: int,
    settings: Settings,
    store: Store,
    probes: Probes,
) -> None:
    """Refuses what memory has no room for.

    Args:
        fit: The fit.
        epoch: The epoch that it begins with.
        steps: How many steps were run before.
        settings: The recorder's.
        store: Its store, which learns how many records will come.
        probes: Its probes.

    Raises:
        ValueError: If there is no room; says what would fit.
    """
    if fit.epochs is None:
        return
    left = max(fit.epochs - epoch + 1, 0)
    count = settings.cadence.count(steps + 1, left, fit.batches)
    store.expect(count)
    probes.expected = count
    if count is None or not probes.is_resolved:
        return
    if not store.fits_in(count, probes.record_bytes):
        raise too_large(
            held=len(store),
            record_bytes=probes.record_bytes,
            count=count,
            variables=len(probes.variables(fit.model)),
            record_freq=settings.record_freq,
            max_bytes=settings.max_bytes,
        )
