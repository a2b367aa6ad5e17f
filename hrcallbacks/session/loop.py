"""Recording outside of `fit`: a loop of the user's own."""

import contextlib
import functools
import itertools
from collections.abc import Iterator

from hrcallbacks.capture.attached import attach
from hrcallbacks.session.model_fit import ModelFit
from hrcallbacks.session.session import Session


@contextlib.contextmanager
def record_loop(session: Session, fit: ModelFit) -> Iterator[None]:
    """Records the steps of a loop, as one epoch; see `capture.attached.attach`."""
    steps = itertools.count()

    def begin_step() -> bool:
        return session.begin_loose_step(next(steps))

    probe = session.begin_loop(fit)
    receive = functools.partial(session.receive, probe)
    try:
        with attach(fit.model, fit.loose, probe, begin_step, receive) as missed:
            yield
    finally:
        try:
            session.end_epoch({})
        finally:
            session.attached = False
    session.end_loop(missed[0] if missed else None)
