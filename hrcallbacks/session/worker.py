"""Where jobs run: immediately, or one after another in a thread."""

import concurrent.futures
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

Job = Callable[[], None]


class Worker(ABC):
    """Runs jobs in the order in which they are submitted.

    After a job fails, with any exception, no other runs: the next `submit` or `wait`
    raises.
    """

    @abstractmethod
    def submit(self, job: Job, size: int) -> None:
        """Runs a job after those before it.

        Args:
            job: A function.
            size: Bytes that it holds until it has run.

        Raises:
            Exception: What this job or an earlier one raised.
        """

    @abstractmethod
    def wait(self) -> None:
        """Returns once all jobs have run.

        Raises:
            Exception: What one of them raised.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drops the jobs that have not begun, and forgets failures."""

    @abstractmethod
    def close(self) -> None:
        """Ends once all jobs have run."""


class Inline(Worker):
    """Runs jobs immediately."""

    def submit(self, job: Job, size: int) -> None:
        """Runs a job."""
        job()

    def wait(self) -> None:
        """Nothing waits."""

    def discard(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class Background(Worker):
    """Runs jobs in a separate thread.

    Args:
        limit: Bytes that may wait; `submit` waits while there are more.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting = 0
        self._room = threading.Condition()
        self._failure: BaseException | None = None
        self._executor: concurrent.futures.ThreadPoolExecutor | None = None

    def submit(self, job: Job, size: int) -> None:
        """See `Worker`."""
        with self._room:
            self._room.wait_for(
                lambda: not self._waiting or self._waiting + size <= self._limit
            )
            self._raise()
            self._waiting += size
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "hrcallbacks")
        self._executor.submit(self._run, job, size)

    def _run(self, job: Job, size: int) -> None:
        try:
            if self._failure is None:
                job()
        except BaseException as error:
            self._failure = error
        finally:
            with self._room:
                self._waiting -= size
                self._room.notify()

    def _raise(self) -> None:
        failure = self._failure
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            # Raised here, it would end the training: it was meant for the thread.
            raise RuntimeError(f"the thread that stores records died: {failure!r}")

    def wait(self) -> None:
        """See `Worker`."""
        if self._executor is not None:
            self._executor.submit(lambda: None).result()
        self._raise()

    def discard(self) -> None:
        """See `Worker`."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
        self._failure = None
        self._waiting = 0

    def close(self) -> None:
        """See `Worker`."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)
