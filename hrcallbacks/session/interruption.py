"""What became of the steps that were running when a fit was interrupted."""

from hrcallbacks.session.clock import Clock
from hrcallbacks.storage.store import Store


def note_in_flight(
    clock: Clock, store: Store, before: int | None, after: int | None
) -> None:
    """Notes whether an interrupted step had already updated the weights.

    Args:
        clock: The fit's clock, which counts the steps that had.
        store: Where a missing step is noted.
        before: How many updates the optimizer made before the fit; None if unknown.
        after: How many it has made by now; None if unknown.
    """
    in_flight = clock.in_flight
    if not in_flight:
        return
    counted = clock.total - clock.before_fit
    unseen = None
    if before is not None and after is not None:
        unseen = after - before - counted
        if not 0 <= unseen <= len(in_flight):
            unseen = None
    if unseen == 0:
        return
    last = in_flight[-1] if unseen is None else in_flight[unseen - 1]
    wanted = [n for n in clock.wanted_steps if n <= last]
    if wanted:
        store.note_fault(
            f"step {wanted[0]} was interrupted and is not recorded"
            + (
                "; it is not known whether it updated the weights"
                if unseen is None
                else ""
            )
        )
    if unseen is not None:
        clock.skip(unseen)
