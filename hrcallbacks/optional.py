"""Packages that are imported only when needed."""

import contextlib
from collections.abc import Generator


@contextlib.contextmanager
def optional(
    package: str, *, extra: str, needed_by: str = "This", hint: str = ""
) -> Generator[None, None, None]:
    """A block that imports an optional package, or says how to install it.

    The imports are ordinary statements, so that type checkers understand them.

    Args:
        package: The package's usual name.
        extra: The extra of `hrcallbacks` that installs it.
        needed_by: What needs it, for the start of the message.
        hint: What to do without it, for the end of the message.

    Raises:
        ImportError: If an import in the block fails.

    Example:
        >>> with optional("the standard library", extra="plot"):
        ...     import json
    """
    try:
        yield
    except ImportError as error:
        raise ImportError(
            f"{needed_by} needs {package} ({error}). Install it with: "
            f'pip install "hrcallbacks[{extra}]".' + (f" {hint}" if hint else "")
        ) from error
