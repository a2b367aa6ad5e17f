"""How far long work has come, on standard error.

Quiet where standard error is no terminal, and for what takes less than a second. tqdm
is imported when it is used.
"""

import contextlib
import threading

_TICK = 0.5  # Seconds.


def progress(items=None, *, of, unit="it", total=None):
    """A tqdm bar.

    Args:
        items: What to go through, or None to call `update(n)` by hand.
        of: What is being done: what stands before the bar.
        unit: What is counted.
        total: How many there are, if `items` does not say.

    Returns:
        A `tqdm.tqdm`: iterable, and a context manager.

    Example:
        >>> list(progress("abc", of="Reading", unit="letter"))
        ['a', 'b', 'c']
    """
    from tqdm import tqdm

    # disable=None: unless it is a terminal.
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
def elapsed(of):
    """Shows how long a block has taken, where nobody knows how long it will.

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


def _tick(bar, ended):
    while not ended.wait(_TICK):
        bar.update(0)
