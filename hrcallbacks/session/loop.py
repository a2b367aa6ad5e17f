"""Recording outside `fit`: the user's own loop."""

import contextlib
import functools
import itertools
from collections.abc import Generator

from hrcallbacks.capture.attached import attach
from hrcallbacks.session import notices
from hrcallbacks.session.model_fit import ModelFit
from hrcallbacks.session.session import Session


@contextlib.contextmanager
def record_loop(session: Session, fit: ModelFit) -> Generator[None, None, None]:
    """Records the steps of a loop as one epoch; see `capture.attached.attach`.

    Raises:
        ValueError: As for `Session.admit`.
        OSError: As for `Session.admit`.
    """
    session.admit(fit)
    session.begin_epoch(1)
    begun, probe = session.begun, session.probes.of_step(recorded=True)
    assert begun is not None
    assert probe is not None
    steps = itertools.count()

    def begin_step() -> bool:
        return _begin_step(session, next(steps))

    receive = functools.partial(session.receive, probe)
    begun.attached = True
    try:
        with attach(fit.model, fit.loose, probe, begin_step, receive) as missed:
            yield
    finally:
        try:
            session.end_epoch({})
        finally:
            begun.attached = False
    _end(session, missed[0] if missed else None)


def _begin_step(session: Session, batch: int) -> bool:
    """Begins a step; returns whether to record it."""
    session.raise_deferred()
    session.clock.begin_execution(batch, 1)
    session.clock.end_execution(batch, 1)
    if not session.stopped:
        session.audience.speak(session.model)
    return bool(session.clock.wanted) and not session.stopped


def _end(session: Session, missed: str | None) -> None:
    """Ends the loop.

    Args:
        session: The session.
        missed: What could not be recorded, or None.
    """
    if missed:
        session.store.note_fault(missed)
    elif not session.clock.total - session.clock.before_fit:
        notices.nothing_seen()
        session.clock.hit = True  # Do not warn about it twice.
    session.end_fit()
