"""Progress bars for long operations, on standard error.

Nothing is shown if standard error is not a terminal, or if it takes less than a second.
tqdm is imported when it is used.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm

_TICK = 0.5  # Seconds.


def progress(
    items: Iterable[Any] | None = None,
    *,
    of: str,
    unit: str = "it",
    total: int | None = None,
) -> tqdm[Any]:
    """A tqdm bar.

    Args:
        items: What to iterate over, or None to call `update(n)` by hand.
        of: What is being done: the text before the bar.
        unit: What is counted, in the singular.
        total: How many there are, if `items` has no length.

    Returns:
        A bar: iterable, and a context manager.

    Example:
        >>> list(progress("abc", of="Reading", unit="letter"))
        ['a', 'b', 'c']
    """
    from tqdm import tqdm

    # disable=None: unless standard error is a terminal.
    return tqdm(
        items,
        desc=of,
        unit=f" {unit}s",
        total=total,
        disable=None,
        delay=1,
        leave=False,
        dynamic_ncols=True,
    )


@contextlib.contextmanager
def elapsed(of: str) -> Generator[None, None, None]:
    """Shows how long a block has taken so far, if it cannot be known how long it will.

    Args:
        of: What is being done.

    Example:
        >>> with elapsed("Asking a server"):
        ...     answer = 42
    """
    from tqdm import tqdm

    line = "{desc}: {elapsed}"
    with tqdm(
        desc=of, bar_format=line, disable=None, delay=1, leave=False, miniters=0
    ) as bar:
        ended = threading.Event()
        clock = threading.Thread(target=_tick, args=(bar, ended), daemon=True)
        if not bar.disable:
            clock.start()
        try:
            yield
        finally:
            ended.set()
            if clock.is_alive():
                clock.join()


def _tick(bar: tqdm[Any], ended: threading.Event) -> None:
    while not ended.wait(_TICK):
        bar.update(0)
