"""A question to a server, whose answer is bounded in bytes and in time."""

from __future__ import annotations

import contextlib
import threading
import time
import zlib
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import requests

_BLOCK = 64 * 1024


def ask(whom: str, address: str, question: str, *, timeout: float, most: int) -> bytes:
    """The answer of a server to a POST request.

    Args:
        whom: What the server is called, for messages.
        address: URL of the server.
        question: Body of the request.
        timeout: Seconds for all of it: looking up the name, connecting, and reading the
            answer to the last byte.
        most: How many bytes the answer may have, before and after decompression.

    Returns:
        The answer's body, decompressed.

    Raises:
        TimeoutError: If it takes longer.
        ConnectionError: If the server cannot be reached, breaks off, or answers with
            an error or a redirection.
        ValueError: If the answer is larger, or compressed in a way that was not asked
            for.
    """
    end = time.monotonic() + timeout

    def answer() -> bytes:
        with _opened(whom, address, question, timeout) as response:
            blocks = _bounded(_blocks(response.raw, end), whom, most)
            encoding = response.headers.get("Content-Encoding", "identity")
            return b"".join(_decoded(blocks, encoding.strip().lower(), whom, most))

    return _within(timeout, answer)


def _within(seconds: float, call: Callable[[], bytes]) -> bytes:
    """The result of a call, if it returns in time.

    A time-out of a socket bounds each read, and a server may make many.
    """
    future: Future[bytes] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(seconds)


@contextlib.contextmanager
def _opened(
    whom: str, address: str, question: str, timeout: float
) -> Generator[requests.Response, None, None]:
    """A response whose body has yet to be read; its errors are Python's own."""
    import requests
    import urllib3

    try:
        with (
            requests.Session() as session,
            session.post(
                address,
                data=question,
                headers={"Accept-Encoding": "gzip"},
                timeout=timeout,
                stream=True,
                allow_redirects=False,  # requests would read a redirection's body.
            ) as response,
        ):
            _check_status(response, whom)
            yield response
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        # A server that falls silent halfway comes as an error around the time-out.
        timeouts = (requests.Timeout, urllib3.exceptions.TimeoutError)
        if any(isinstance(cause, timeouts) for cause in (error, *error.args)):
            raise TimeoutError(str(error)) from error
        raise ConnectionError(f"The connection to {whom} failed: {error}") from error


def _check_status(response: requests.Response, whom: str) -> None:
    if response.status_code == 200:
        return
    where = response.headers.get("Location")
    raise ConnectionError(
        f"{whom} answered with HTTP status {response.status_code} {response.reason}"
        + (f", which sends to {where!r}" if where else "")
    )


def _blocks(raw: Any, end: float) -> Iterator[bytes]:
    """The bytes of the body as they arrive, until time is up."""
    read = getattr(raw, "read1", raw.read)  # urllib3 1 waits for whole blocks.
    while block := read(_BLOCK, decode_content=False):
        if time.monotonic() > end:
            raise TimeoutError("the answer goes on and on")
        yield block


def _bounded(blocks: Iterator[bytes], whom: str, most: int) -> Iterator[bytes]:
    size = 0
    for block in blocks:
        size += len(block)
        if size > most:
            raise ValueError(
                f"The answer of {whom} is larger than the {most:,} bytes that such an "
                "answer may have."
            )
        yield block


def _decoded(
    blocks: Iterator[bytes], encoding: str, whom: str, most: int
) -> Iterator[bytes]:
    if encoding in ("", "identity"):
        return blocks
    if encoding not in ("gzip", "x-gzip"):
        raise ValueError(
            f"The answer of {whom} is encoded as {encoding!r}; gzip was asked for."
        )
    return _bounded(_unzipped(blocks, whom), whom, most)


def _unzipped(blocks: Iterator[bytes], whom: str) -> Iterator[bytes]:
    """Decompresses, at most a block at a time: a few bytes may expand to a lot."""
    unzip = zlib.decompressobj(wbits=31)
    try:
        for block in blocks:
            while block and not unzip.eof:
                yield unzip.decompress(block, _BLOCK)
                block = unzip.unconsumed_tail
        yield unzip.flush(_BLOCK)
    except zlib.error as error:
        raise ValueError(f"The answer of {whom} is no gzip: {error}.") from error
    if not unzip.eof:
        raise ValueError(f"The answer of {whom} is broken off or damaged: half a gzip.")
