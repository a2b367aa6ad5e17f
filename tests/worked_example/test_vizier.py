"""Downloads, from a server on the loopback interface: whole or absent."""

import contextlib
import errno
import gzip
import io
import os
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import pytest

from hrcallbacks.worked_example.stars import load_catalog
from hrcallbacks.worked_example.vizier import download_catalog

HEADER = "Lum,BP-RP,Teff\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def votable(**columns):
    """A VOTable such as VizieR sends: single precision, under the catalogue's name."""
    from astropy.io.votable import from_table, writeto
    from astropy.table import Table

    document = from_table(Table(columns), table_id="gaia2")
    document.resources[0].tables[0].name = "I/345/gaia2"
    buffer = io.BytesIO()
    writeto(document, buffer)
    return buffer.getvalue()


def float32(values):
    return np.asarray(values, np.float32)


@pytest.fixture(scope="module")
def ten_thousand_stars():
    rng = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "Lum": float32(rng.lognormal(0, 2, 10_000)),
            "BP-RP": float32(rng.normal(1, 0.5, 10_000)),
            "Teff": float32(rng.uniform(3000, 9000, 10_000)),
        }
    )


@pytest.fixture(scope="module")
def whole_answer(ten_thousand_stars):
    # Not in the order asked for: VizieR keeps the catalogue's.
    return votable(**ten_thousand_stars[["Teff", "BP-RP", "Lum"]])


THREE = {
    "Lum": float32([1, 2, 3]),
    "BP-RP": float32([0, 1, 2]),
    "Teff": float32([4000, 5000, 6000]),
}


class Server(ThreadingHTTPServer):
    """Answers every request with `status` and `body`; keeps what it was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests = []
        self.status, self.body = 200, b""
        self.length = None  # Content-Length, where it is not that of the body.
        self.silent_after = None  # Bytes of the body after which it falls silent.
        self.headers = {}
        self.drips = False  # Whether all of the answer comes byte by byte.
        self.chunked = False
        self.released = threading.Event()


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        asked = self.rfile.read(int(self.headers["Content-Length"])).decode()
        server.requests.append((self.path, asked.splitlines()))
        if server.silent_after == 0:
            server.released.wait()
            return
        if server.drips:
            self.drip()
            return
        self.send_response(server.status)
        for header in server.headers.items():
            self.send_header(*header)
        if server.chunked:
            self.chunk()
            return
        length = len(server.body) if server.length is None else server.length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(server.body[: server.silent_after])
        if server.silent_after:
            self.wfile.flush()
            server.released.wait()

    def drip(self):
        """Three seconds at the most, none of which is silent."""
        for byte in b"HTTP/1.0 200 OK\r\nContent-Length: 99\r\n\r\n<?xml-------":
            self.wfile.write(bytes([byte]))
            if self.server.released.wait(0.05):
                return

    def chunk(self):
        """Without end, but for that of a test that fails."""
        self.end_headers()
        for _ in range(64):
            with contextlib.suppress(ConnectionError):
                self.wfile.write(self.server.body)

    def log_message(self, *args):
        pass


class Redirection:
    """Where https requests really go; hosts and time-outs that they were given."""

    def __init__(self):
        self.hosts, self.timeouts = [], []
        self.target = None


@pytest.fixture
def redirection(monkeypatch, tmp_path_factory):
    """Send every request, whatever its host, to loopback instead, as plain http."""
    pytest.importorskip("astroquery.vizier")
    from astropy.config import set_temp_cache
    from requests.adapters import HTTPAdapter

    redirection = Redirection()
    send = HTTPAdapter.send

    def send_to_loopback(adapter, request, **arguments):
        address = urlsplit(request.url)
        assert address.scheme == "https"
        redirection.hosts.append(address.netloc)
        redirection.timeouts.append(arguments["timeout"])
        request.url = f"http://{redirection.target}{address.path}"
        return send(adapter, request, **arguments | {"proxies": {}})

    monkeypatch.setattr(HTTPAdapter, "send", send_to_loopback)
    with set_temp_cache(tmp_path_factory.mktemp("astropy-cache")):
        yield redirection


@pytest.fixture
def server(redirection):
    with Server() as server:
        redirection.target = f"127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


def assigned_download(path):
    """The assignment's cell "Dataset", as published."""
    from astroquery.vizier import Vizier

    vizier = Vizier(
        columns=["Lum", "BP-RP", "Teff"],
        column_filters={"Lum": " > 0", "Teff": " > 0"},
    )
    vizier.ROW_LIMIT = 10000
    catalog = vizier.get_catalogs("I/345")[0]
    catalog = catalog.to_pandas()
    catalog.to_csv(path, index=False)


def test_vizier_is_asked_exactly_what_the_assignment_asks(
    server, whole_answer, tmp_path
):
    server.body = whole_answer
    download_catalog(tmp_path / "ours.csv")
    assigned_download(tmp_path / "assigned.csv")

    ours, assigned = server.requests
    assert ours == assigned
    address, asked = ours
    assert address == "/viz-bin/votable"
    assert {
        "-source=I/345",
        "-out=Lum,BP-RP,Teff",
        "Lum= > 0",
        "Teff= > 0",
        "-out.max=10000",
    } <= set(asked)


def test_download_holds_the_stars_that_were_sent(
    server, whole_answer, ten_thousand_stars, tmp_path
):
    server.body = whole_answer
    path = tmp_path / "catalog.csv"
    catalog = download_catalog(path)
    assigned_download(tmp_path / "assigned.csv")

    assert list(catalog) == ["Lum", "BP-RP", "Teff"]
    assert (catalog.dtypes == np.float64).all()
    pd.testing.assert_frame_equal(
        catalog.astype(np.float32), ten_thousand_stars, check_exact=True
    )
    assigned = pd.read_csv(tmp_path / "assigned.csv")
    pd.testing.assert_frame_equal(catalog, assigned[list(catalog)], check_exact=True)
    assert path.read_text().startswith(HEADER)
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_second_download_reads_the_file_and_asks_nothing(
    server, whole_answer, tmp_path, monkeypatch
):
    server.body = whole_answer
    path = tmp_path / "catalog.csv"
    first = download_catalog(path)
    monkeypatch.setitem(sys.modules, "astroquery.vizier", None)
    second = download_catalog(path)

    assert len(server.requests) == 1
    pd.testing.assert_frame_equal(first, second, check_exact=True)


def test_overwrite_asks_again_and_a_failure_keeps_the_old_file(server, tmp_path):
    path = write(tmp_path / "catalog.csv", HEADER + "1,1,1\n")
    server.status = 503
    with pytest.raises(ConnectionError, match="503"):
        download_catalog(path, rows=3, overwrite=True)
    assert path.read_text() == HEADER + "1,1,1\n"

    server.status, server.body = 200, votable(**THREE)
    assert download_catalog(path, rows=3, overwrite=True)["Lum"].tolist() == [1, 2, 3]
    assert load_catalog(path)["Lum"].tolist() == [1, 2, 3]


def test_server_argument_and_rows_are_passed_on(server, redirection, tmp_path):
    server.body = votable(**THREE)
    download_catalog(tmp_path / "a.csv", rows=3, server="mirror.example")
    assert redirection.hosts == ["mirror.example"]
    assert "-out.max=3" in server.requests[0][1]


def test_mirror_set_in_astroquery_is_asked(server, redirection, tmp_path):
    from astroquery.vizier import conf

    server.body = votable(**THREE)
    download_catalog(tmp_path / "a.csv", rows=3)
    with conf.set_temp("server", "vizier.nao.ac.jp"):
        download_catalog(tmp_path / "b.csv", rows=3)
    assert redirection.hosts == ["vizier.cds.unistra.fr", "vizier.nao.ac.jp"]


def test_masked_colour_becomes_nan(server, tmp_path):
    colour = np.ma.masked_array(float32([0.5, 9, 1.5]), mask=[False, True, False])
    server.body = votable(**THREE | {"BP-RP": colour})
    catalog = download_catalog(tmp_path / "catalog.csv", rows=3)
    np.testing.assert_array_equal(catalog["BP-RP"], [0.5, np.nan, 1.5])


def test_answer_kept_by_astroquery_is_not_taken_for_a_download(
    server, whole_answer, tmp_path
):
    server.body = votable(**{name: values[:2] for name, values in THREE.items()})
    assigned_download(tmp_path / "assigned.csv")
    assigned_download(tmp_path / "assigned.csv")
    assert len(server.requests) == 1  # astroquery did keep it.

    server.body = whole_answer
    assert len(download_catalog(tmp_path / "catalog.csv")) == 10_000
    assert len(server.requests) == 2


def test_failed_download_is_asked_anew(server, tmp_path):
    whole = votable(**THREE)
    server.body = whole[:-40]
    with pytest.raises(ValueError, match="broken off"):
        download_catalog(tmp_path / "catalog.csv", rows=3)
    server.body = whole
    assert len(download_catalog(tmp_path / "catalog.csv", rows=3)) == 3


def refuse(tmp_path, error, message, **arguments):
    """Assert that a download fails so, says what else to do and leaves no file."""
    with pytest.raises(error, match=rf"(?s){message}") as caught:
        download_catalog(tmp_path / "catalog.csv", **arguments)
    text = str(caught.value)
    assert "VizieR at vizier.cds.unistra.fr" in text
    assert "I/345" in text
    assert "Nothing was written" in text
    assert "hr.load_catalog()" in text
    assert caught.value.__cause__ is not None
    assert list(tmp_path.iterdir()) == []


def test_refused_connection(redirection, tmp_path):
    # Bound but not listening: the port is taken, and refuses.
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        redirection.target = f"127.0.0.1:{closed.getsockname()[1]}"
        refuse(tmp_path, ConnectionError, "connection to .* failed: .*refused")


@pytest.mark.parametrize("silent_after", [0, 100])
def test_silent_server_is_a_timeout(server, redirection, tmp_path, silent_after):
    server.body, server.silent_after = votable(**THREE), silent_after
    refuse(tmp_path, TimeoutError, r"within timeout=0\.3 s", rows=3, timeout=0.3)
    assert redirection.timeouts == [0.3]


@pytest.mark.parametrize(
    ("status", "message"),
    [(503, "HTTP status 503 Service Unavailable"), (404, "HTTP status 404 Not Found")],
)
def test_http_error(server, tmp_path, status, message):
    server.status = status
    refuse(tmp_path, ConnectionError, message)


def test_answer_cut_short_by_the_connection(server, tmp_path):
    server.body = votable(**THREE)
    server.length = len(server.body) + 100
    refuse(tmp_path, ConnectionError, "connection to .* failed: .*IncompleteRead")


MIB = 1024**2


def test_an_answer_without_end_is_left(server, tmp_path):
    server.body, server.chunked = b"<?xml" + bytes(MIB), True
    refuse(tmp_path, ValueError, "is larger than the 4,195,840 bytes", rows=3)


def test_an_answer_that_is_large_once_decompressed_is_left(server, tmp_path):
    server.body = gzip.compress(b"<?xml" + bytes(64 * MIB))
    server.headers["Content-Encoding"] = "gzip"
    assert len(server.body) < MIB
    refuse(tmp_path, ValueError, "is larger than the 4,195,840 bytes", rows=3)


def test_a_compressed_answer_is_read(server, tmp_path):
    server.body = gzip.compress(votable(**THREE))
    server.headers["Content-Encoding"] = "gzip"
    catalog = download_catalog(tmp_path / "catalog.csv", rows=3)
    assert catalog["Teff"].tolist() == [4000, 5000, 6000]


@pytest.mark.parametrize(
    ("encoding", "body", "message"),
    [
        ("gzip", gzip.compress(b"<?xml")[:-4], "broken off or damaged: half a gzip"),
        ("gzip", b"<?xml", "is no gzip"),
        ("gzip, gzip", b"", "encoded as 'gzip, gzip'"),
        ("br", b"", "encoded as 'br'; gzip was asked for"),
    ],
)
def test_other_encodings_are_refused(server, tmp_path, encoding, body, message):
    server.body, server.headers["Content-Encoding"] = body, encoding
    refuse(tmp_path, ValueError, message)


def test_an_answer_that_comes_byte_by_byte_is_a_timeout(server, tmp_path):
    server.drips = True
    refuse(tmp_path, TimeoutError, r"within timeout=0\.3 s", timeout=0.3)


def test_a_redirection_is_not_followed(server, tmp_path):
    server.status, server.headers["Location"] = 302, "http://other.example/"
    refuse(tmp_path, ConnectionError, "HTTP status 302 Found, which sends to 'http://o")


OTHERS = {name: THREE[name] for name in ("Lum", "BP-RP")}


def without_rows():
    return votable(**{name: values[:0] for name, values in THREE.items()})


def without_tables():
    return (
        b'<?xml version="1.0"?><VOTABLE version="1.4" '
        b'xmlns="http://www.ivoa.net/xml/VOTable/v1.3"><RESOURCE/></VOTABLE>'
    )


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda: votable(**THREE)[:-20], "is broken off or damaged"),
        (lambda: votable(**THREE)[:700], "is broken off or damaged"),
        (
            lambda: votable(**THREE).replace(b"<TD>5000<", b"<TD>5?00<"),
            r"1 of 3 rows whose Teff is not a positive.*: \[1\]",
        ),
        (lambda: b"", "is not a VOTable"),
        (lambda: b"<html>Sign in to this network</html>", "is not a VOTable"),
        (without_rows, "holds no stars"),
        (without_tables, "holds no stars"),
        (
            lambda: votable(**OTHERS, T=THREE["Teff"]),
            r"lacks the columns \['Teff'\].*It has: \['Lum', 'BP-RP', 'T'\]",
        ),
        (
            lambda: votable(**THREE | {"Lum": float32([1, -1, 2])}),
            r"1 of 3 rows whose Lum is not a positive.*: \[1\]",
        ),
        (lambda: votable(**THREE), "holds 3 of the rows=10000 asked for"),
        (
            lambda: votable(**THREE).replace(b"<TD>5000</TD>", b""),
            "damaged: it has 3 columns, and rows of other lengths",
        ),
        # What it speaks of is larger than the answer, or not in it.
        (
            lambda: votable(**THREE).replace(b"<TABLE ", b'<TABLE nrows="1000000000" '),
            "holds 3 of the rows=10000 asked for",
        ),
        (
            lambda: votable(**THREE).replace(b"TABLEDATA>", b"STREAM>"),
            "holds no stars",
        ),
    ],
)
def test_answer_that_is_no_table_of_stars(server, tmp_path, answer, message):
    server.body = answer()
    refuse(tmp_path, ValueError, message)


@pytest.mark.parametrize(
    ("error", "path"),
    [
        (FileNotFoundError, "absent/catalog.csv"),
        (NotADirectoryError, "file/catalog.csv"),
        (IsADirectoryError, ""),
    ],
)
def test_path_that_cannot_be_written_is_found_before_downloading(
    server, tmp_path, error, path
):
    write(tmp_path / "file", "")
    with pytest.raises(error, match="Nothing was downloaded"):
        download_catalog(tmp_path / path)
    assert server.requests == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_full_disk_leaves_no_file(server, tmp_path, monkeypatch, step):
    server.body = votable(**THREE)
    kept = write(tmp_path / "catalog.csv", "the old file")

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*{"fsync": (os, step), "replace": (Path, step)}[step], full)
    with pytest.raises(OSError, match="downloaded but not written") as caught:
        download_catalog(kept, rows=3, overwrite=True)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == [kept]
    assert kept.read_text() == "the old file"


def test_interrupted_write_leaves_no_file(server, tmp_path, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    server.body = votable(**THREE)
    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        download_catalog(tmp_path / "catalog.csv", rows=3)
    assert list(tmp_path.iterdir()) == []


def test_damaged_file_is_not_replaced_unasked(server, tmp_path):
    path = write(tmp_path / "catalog.csv", "half a fi")
    with pytest.raises(ValueError, match="overwrite=True"):
        download_catalog(path)
    assert server.requests == []
    assert path.read_text() == "half a fi"


def test_missing_astroquery_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "astroquery.vizier", None)
    with pytest.raises(ImportError, match=r'pip install "hrcallbacks\[stars\]"'):
        download_catalog(tmp_path / "catalog.csv")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"rows": 0}, "rows: an int, 1 or more. Received: rows=0"),
        ({"rows": -1}, "Received: rows=-1"),
        ({"rows": 1e4}, "Received: rows=10000.0"),
        ({"timeout": 0}, "Received: timeout=0"),
        ({"server": "https://vizier.cds.unistra.fr"}, "a host name such as"),
    ],
)
def test_argument_out_of_range_is_refused(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        download_catalog(tmp_path / "catalog.csv", **arguments)
