"""The norm of all gradients, step by step, for Keras' logs."""

import array
import math

import numpy as np

from hrcallbacks.snapshot import to_host

NAME = "gradient_norm"


class NormLog:
    """Norms of an epoch's steps: kept on the device until Keras wants its logs.

    Keras may run the hook that asks for a step's logs in threads of its own, steps
    behind the training and in no order. It waits there for the step's loss; so a norm
    is brought to the host there as well, and the training thread waits for none.
    """

    def __init__(self):
        self._waiting = {}  # By batch: its place among the values, and the tensor.
        self._values = array.array("d")
        self._taken = False
        self._warned = False

    def begin_epoch(self):
        """Forgets the epoch before."""
        self._waiting = {}
        self._values = array.array("d")

    def add(self, batch, tensor):
        """Takes the norm of a step, a scalar tensor."""
        place = len(self._values)
        self._values.append(math.nan)
        self._waiting[batch] = place, tensor

    def log_batch(self, logs, first, last):
        """Adds the norm of an execution's last step to its logs.

        Args:
            logs: The dict that Keras hands from callback to callback.
            first: The execution's first batch, counted from 1.
            last: Its last batch; it may have ended before.
        """
        norm = None
        for batch in range(first, last + 1):
            found = self._waiting.pop(batch, None)
            norm = norm if found is None else self._resolve(*found)
        if norm is not None:
            self._put(logs, norm)

    def log_epoch(self, logs):
        """Adds the mean over the epoch's steps to its logs; NaN if none had one."""
        for batch in list(self._waiting):
            self._resolve(*self._waiting.pop(batch))
        norms = np.asarray(self._values)
        self._put(logs, float(np.mean(norms)) if len(norms) else math.nan)

    @property
    def is_news(self):
        """Once, if the logs have a number of that name already."""
        news = self._taken and not self._warned
        self._warned = self._warned or news
        return news

    def _resolve(self, place, tensor):
        self._values[place] = float(to_host(tensor))
        return self._values[place]

    def _put(self, logs, norm):
        if not isinstance(logs, dict):
            return
        if NAME in logs:
            self._taken = True
        else:
            logs[NAME] = norm
