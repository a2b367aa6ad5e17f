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
    """Rejects a fit without data.

    Raises:
        ValueError: If an epoch has no steps.
    """
    if fit.batches == 0:
        raise ValueError(
            "There is no data to train on: an epoch has 0 steps. "
            "Pass at least one sample to fit."
        )


def check_model(fit: ModelFit, earlier: ModelFit | None, records: int) -> None:
    """Rejects a model other than that of earlier fits.

    Args:
        fit: The fit.
        earlier: An earlier fit, or None.
        records: How many records there are of it.

    Raises:
        ValueError: If it has another model.
    """
    if earlier is not None and earlier.model is not fit.model:
        raise ValueError(
            "This recorder belongs to another model, "
            f"{earlier.model.name!r}, of which it holds {records} "
            f"records; this fit trains {fit.model.name!r}. Use one recorder for "
            "each model, or call recorder.reset() first."
        )


def check_free(model: Any, *, running: Any, attached: bool) -> None:
    """Rejects a recorder that is in use.

    Args:
        model: The model to record.
        running: The model whose fit it is recording, or None.
        attached: Whether it is recording outside `fit`.

    Raises:
        ValueError: If it is in use.
    """
    if attached:
        raise ValueError(
            "This recorder is already attached to the model, by recorder.attached("
            "model). Use either that or fit(..., callbacks=[recorder])."
        )
    if running is not None:
        raise ValueError(
            f"This recorder is recording a fit of {running.name!r}, which "
            f"is still running, so it cannot record this fit of {model.name!r}. Use "
            "one recorder for each fit that runs at the same time."
        )


def check_once(waiting: Mapping[int, Waiting]) -> None:
    """Rejects a recorder that appears twice in the callbacks of a fit.

    Args:
        waiting: By thread, fits that were admitted and have not begun.

    Raises:
        ValueError: If it is.
    """
    here = Stack.here()
    before = waiting.get(here.thread)
    common = before and before.stack.common(here)
    # Keras is still looping over the callbacks of that fit.
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
    """Rejects records for which memory has no room.

    Args:
        fit: The fit.
        epoch: The epoch that it begins with.
        steps: How many steps were run before it.
        settings: The recorder's.
        store: Its store, which learns how many records will come.
        probes: Its probes.

    Raises:
        ValueError: If there is no room; the message says what would fit.
    """
    if fit.epochs is None:
        return
    left = max(fit.epochs - epoch + 1, 0)
    count = settings.cadence.count(steps + 1, left, fit.batches)
    store.expect(count)
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
