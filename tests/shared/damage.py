"""Damages stores in each way that a disk or an attacker can, and reads them.

As a script: `python damage.py STORE COUNT SEED`. Each damaged store is read in a
process of its own, with 4 GB of memory and 30 seconds. What came of it is printed as
JSON.
"""

import copy
import hashlib
import json
import os
import pickle
import random
import resource
import select
import shutil
import signal
import stat
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import numpy as np

import hrcallbacks as hr
from hrcallbacks.storage.array_metadata import array_checksum
from hrcallbacks.storage.checksums import crc32c, signed
from hrcallbacks.storage.zarr_reader import Stored

MEMORY, SECONDS = 4 * 1024**3, 30
# What stands for a number that cannot be.
HUGE = (2**31, 2**40, 2**62, 2**63, 10**30, -1, 1.5, "9", None, True)
DTYPES = (
    "string",
    "float16",
    "int8",
    "float64",
    "complex128",
    "object",
    {"name": "numpy.datetime64", "configuration": {"unit": "s", "scale_factor": 1}},
    {"name": "fixed_length_utf32", "configuration": {"length_bytes": 2**30}},
)
CODECS = (
    {"name": "gzip", "configuration": {"level": 1}},
    {"name": "numcodecs.pickle"},
    {"name": "transpose", "configuration": {"order": [0]}},
    {"name": "vlen-utf8"},
    {"name": "sharding_indexed", "configuration": {"chunk_shape": [1], "codecs": []}},
    {"name": "zstd", "configuration": {"level": 0, "checksum": False}},
    {"name": "blosc", "configuration": {"cname": "zlib", "clevel": 9}},
    "bytes",
)


# Mutations: each changes a file, and may return more words on it.


def deleted(file, rng):
    file.unlink()


def folder_deleted(file, rng):
    shutil.rmtree(file.parent)


def emptied(file, rng):
    file.write_bytes(b"")


def cut(file, rng):
    data = file.read_bytes()
    file.write_bytes(data[: rng.randrange(len(data))])


def lengthened(file, rng):
    file.write_bytes(file.read_bytes() + rng.randbytes(rng.randrange(1, 50)))


def bit_flipped(file, rng):
    data = bytearray(file.read_bytes())
    place, bit = rng.randrange(len(data)), rng.randrange(8)
    data[place] ^= 1 << bit
    file.write_bytes(data)
    return f"byte {place}, bit {bit}"


def noise(file, rng):
    file.write_bytes(rng.randbytes(len(file.read_bytes())))


def link_to_itself(file, rng):
    file.unlink()
    file.symlink_to(file)


def link_to_a_copy(file, rng):
    """What it leads to is right, but lies outside the store."""
    outside = Path(tempfile.gettempdir(), f"copy-{os.getpid()}")
    shutil.copy(file, outside)
    file.unlink()
    file.symlink_to(outside)


def link_to_endless_zeros(file, rng):
    file.unlink()
    file.symlink_to("/dev/zero")


def folder_is_a_link(file, rng):
    outside = Path(tempfile.gettempdir(), f"folder-{os.getpid()}")
    shutil.rmtree(outside, ignore_errors=True)
    shutil.copytree(file.parent, outside, symlinks=True)
    shutil.rmtree(file.parent)
    file.parent.symlink_to(outside)


def fifo(file, rng):
    file.unlink()
    os.mkfifo(file)


def device(file, rng):
    file.unlink()
    try:
        os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        os.mkfifo(file)


def is_a_folder(file, rng):
    file.unlink()
    file.mkdir()


def garbled(file, rng):
    text = file.read_text()
    place = rng.randrange(len(text))
    junk = rng.choice(
        ['"', "{", "]", "\0", "null", "NaN", "1e999", "\ud7ff", "[" * 10**5]
    )
    file.write_text(text[:place] + junk + text[place + rng.randrange(4) :])
    return f"{junk[:9]!r} at {place}"


def other_json(file, rng):
    file.write_text(made := rng.choice(["[]", "{}", "null", "3", '"a"', "[{}]"]))
    return made


def endless_json(file, rng):
    with file.open("r+b") as opened:
        opened.truncate(3 * 1024**3)


def _value_changed(file, rng, choose, *, sign):
    """Replaces one value somewhere in a JSON file."""
    said = json.loads(file.read_text())
    places = list(_places(said))
    places = [place for place in places if choose(place[-1], _at(said, place))]
    if not places:
        return bit_flipped(file, rng)
    *way, last = rng.choice(places)
    new = rng.choice(choose(last, _at(said, [*way, last])))
    _at(said, way)[last] = copy.deepcopy(new)
    if sign:
        _sign(said, file)
    file.write_text(json.dumps(said))
    return f"{'/'.join(map(str, [*way, last]))} = {str(new)[:60]}"


def _places(said, way=()):
    """The way to each value; not what other readers alone look at."""
    items = said.items() if isinstance(said, dict) else enumerate(said)
    for key, value in items:
        if key == "consolidated_metadata":
            continue
        yield (*way, key)
        if isinstance(value, dict | list):
            yield from _places(value, (*way, key))


def _at(said, way):
    for step in way:
        said = said[step]
    return said


def _sign(said, file):
    """As an attacker would who knows of the checksums."""
    if said.get("node_type") == "group":
        said["attributes"] = signed(said["attributes"])
        return
    name = str(file.parent).partition(".zarr/")[2]
    try:
        chunks = said["chunk_grid"]["configuration"]["chunk_shape"]
        said["attributes"]["checksum"] = array_checksum(
            name, said["data_type"], chunks, said["attributes"]
        )
    except (TypeError, KeyError):
        pass


def number_changed(file, rng):
    return _value_changed(file, rng, _if_number, sign=False)


def _if_number(key, value):
    return HUGE if type(value) in (int, float) else ()


def any_value_changed(file, rng):
    values = (*HUGE, [], {}, "a", [[]])
    return _value_changed(file, rng, lambda key, value: values, sign=False)


def huge_and_signed(file, rng):
    """Only larger: an attacker may well leave records out and sign that."""
    return _value_changed(file, rng, _if_size, sign=True)


def _if_size(key, value):
    # Of lists, only shapes have numbers as items.
    is_size = key in ("records", "ended_epochs") or isinstance(key, int)
    return HUGE[:5] if type(value) is int and is_size else ()


def dtype_and_signed(file, rng):
    def choose(key, value):
        return [d for d in DTYPES if d != value] if key == "data_type" else ()

    return _value_changed(file, rng, choose, sign=True)


def codec_and_signed(file, rng):
    def choose(key, value):
        is_codec = isinstance(value, dict) and "name" in value and isinstance(key, int)
        return [c for c in CODECS if c != value] if is_codec else ()

    return _value_changed(file, rng, choose, sign=True)


def blosc_bomb(file, rng):
    """A whole frame of zeros, 300 MB of them, with the right checksum."""
    file.write_bytes(_checked(_frame("blosc")))


def zstd_bomb(file, rng):
    file.write_bytes(_checked(_frame("zstd")) if rng.random() < 0.5 else _frame("zstd"))


def header_lies(file, rng):
    """The chunk says that it inflates to gigabytes, and its checksum is right."""
    data = bytearray(file.read_bytes()[:-4])
    data[4:8] = (2**31 - 2**10 if rng.random() < 0.5 else 1).to_bytes(4, "little")
    file.write_bytes(_checked(bytes(data)))


_FRAMES: dict[str, bytes] = {}


def _frame(codec):
    if codec not in _FRAMES:
        from numcodecs import blosc, zstd

        zeros = bytes(300_000_000)
        _FRAMES[codec] = (
            zstd.compress(zeros, 1)
            if codec == "zstd"
            else blosc.compress(zeros, b"zstd", 1, blosc.SHUFFLE)
        )
    return _FRAMES[codec]


def _checked(data):
    return data + crc32c(data).to_bytes(4, "little")


ANY = (
    deleted,
    folder_deleted,
    emptied,
    cut,
    lengthened,
    bit_flipped,
    bit_flipped,
    bit_flipped,
    noise,
    link_to_itself,
    link_to_a_copy,
    link_to_endless_zeros,
    folder_is_a_link,
    fifo,
    device,
    is_a_folder,
)
OF_JSON = (
    garbled,
    other_json,
    endless_json,
    number_changed,
    number_changed,
    any_value_changed,
    any_value_changed,
    huge_and_signed,
    dtype_and_signed,
    codec_and_signed,
)
OF_CHUNKS = (blosc_bomb, zstd_bomb, header_lies)


def mutations(store, count, seed):
    """Names of files below a store with a way to damage each, every file in turn."""
    rng = random.Random(seed)
    files = sorted(
        str(file.relative_to(store)) for file in store.rglob("*") if file.is_file()
    )
    order: list[str] = []
    while len(order) < count:
        order += rng.sample(files, len(files))
    for number, name in enumerate(order[:count]):
        ways = ANY + (OF_JSON if name.endswith("zarr.json") else OF_CHUNKS)
        yield name, rng.choice(ways), seed * 10**6 + number


# Reading.


def pieces(path):
    """All that can be read of a store, by name; each is read on its own."""
    made: dict[str, Callable] = {}
    recording = hr.open_recording(path)
    fits = recording.fits
    made["index"] = lambda: recording.index
    made["attributes"] = lambda: recording.attributes
    made["paths"] = lambda: recording.paths
    for kind, arrays in recording.arrays_by_kind.items():
        for name in arrays:
            made[f"array {kind} {name}"] = lambda a=arrays, n=name: np.asarray(a[n])
            made[f"row {kind} {name}"] = lambda a=arrays, n=name: a[n][-1]
    made["norms"] = lambda: recording.statistic("gradients", "norm")
    made["means"] = lambda: recording.statistic("weights", "mean")
    made["flags"] = lambda: recording.has_gradient
    made["frame"] = lambda: recording.to_frame()
    made["histograms"] = lambda: recording.to_frame(of="histograms")
    made["summary"] = lambda: repr(recording)
    for number, fit in enumerate(fits):
        made[f"fit {number}"] = lambda f=fit: (
            (f.first, f.ended, f.fault, dict(f.variables), list(f.sparse)),
            {n: (o.class_name, o.config, o.paths) for n, o in f.optimizers.items()},
        )
        # What a replay starts from.
        made[f"start {number}"] = lambda f=fit: dict(f.weights.items())
        for name, optimizer in fit.optimizers.items():
            if optimizer.state is not None:
                made[f"state {number} {name}"] = lambda o=optimizer: list(o.state)
    made["epochs"] = lambda: Stored(path).epochs()
    return made


def read(path):
    """By piece, a digest of what was read, or the error."""
    try:
        there = pieces(path)
    except Exception as error:
        return {"open": _told(error)}
    found = {}
    for name, piece in there.items():
        try:
            found[name] = hashlib.sha256(pickle.dumps(piece())).hexdigest()
        except Exception as error:
            found[name] = _told(error)
    return found


def _told(error):
    last = traceback.extract_tb(error.__traceback__)[-1].filename
    return {
        "kind": type(error).__name__,
        "ours": isinstance(error, ValueError | OSError | MemoryError)
        and "hrcallbacks" in Path(last).parts,
        "text": str(error),
    }


def judged(found, truth, path, name):
    """`right`, `error`, or what is wrong, in words.

    Args:
        found: What `read` gave of the damaged store, or why it gave nothing.
        truth: What it gave of the whole one.
        path: The damaged store.
        name: The damaged file.
    """
    if isinstance(found, str):
        return found
    errors = [told for told in found.values() if isinstance(told, dict)]
    array = name.removesuffix("/zarr.json").partition("/c/")[0].removesuffix("/c")
    for told in errors:
        if not told["ours"]:
            return f"not our error: {told}"
        parts = array.split("/")
        above = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        named = name == "zarr.json" or any(part in told["text"] for part in above)
        if str(path) not in told["text"] or not named:
            return f"the error does not name the place: {told}"
    if "open" in found and name.startswith("fits/"):
        return f"what only a replay needs kept it from opening: {found['open']}"
    for piece, digest in found.items():
        if isinstance(digest, str) and digest != truth.get(piece):
            return f"wrong: {piece}"
    if not errors and found.keys() != truth.keys():
        return f"not all is there: {truth.keys() - found.keys()}"
    return "error" if errors else "right"


def in_a_child(work):
    """What `work` returns in a process of its own, or why it returned nothing."""
    out, into = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.close(out)
            resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
            with os.fdopen(into, "w") as file:
                json.dump(work(), file)
        finally:
            os._exit(0)
    os.close(into)
    text, deadline = b"", time.monotonic() + SECONDS
    with os.fdopen(out, "rb") as file:
        while True:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([file], [], [], left)[0]:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return f"it took more than {SECONDS} seconds"
            if not (part := os.read(file.fileno(), 1 << 20)):
                break
            text += part
    _, status = os.waitpid(child, 0)
    if status or not text:
        return f"the process ended with status {status}"
    return json.loads(text)


def main(store, count, seed):
    """Prints a line of JSON for each mutation."""
    store = Path(store)
    truth = in_a_child(lambda: read(store))
    assert isinstance(truth, dict), truth
    assert all(isinstance(digest, str) for digest in truth.values()), truth
    folder = Path(tempfile.mkdtemp())
    tempfile.tempdir = str(folder)
    path = folder / store.name  # The same length for all: reprs name it nowhere.
    for name, way, own_seed in mutations(store, int(count), int(seed)):
        shutil.copytree(store, path)
        more = way(path / name, random.Random(own_seed))
        said = judged(in_a_child(lambda: read(path)), truth, path, name)
        line = {"file": name, "way": way.__name__, "more": more, "outcome": said}
        print(json.dumps(line), flush=True)
        if path.is_symlink():
            path.unlink()
        shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])
