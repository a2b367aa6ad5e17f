"""The script and the style sheet, as text to put into a page."""

from __future__ import annotations

import base64
import functools
import hashlib
from importlib import resources

from hrcallbacks.plot.style import PALETTE

# In this order: each uses what those before it define.
_SCRIPTS = (
    "uPlot.iife.min.js",
    "page.js",
    "chart.js",
    "panel.js",
    "heatmap.js",
    "network.js",
    "report.js",
    "backprop.js",
    "figures.js",
)
_STYLES = ("uPlot.min.css", "hrcallbacks.css")


@functools.cache
def script() -> str:
    """All that draws, one classic script that defines `hrcallbacks`."""
    palette = ", ".join(f'"{color}"' for color in PALETTE)
    parts = [_read(name) for name in _SCRIPTS]
    parts.insert(1, f"var hrcallbacks = {{ palette: [{palette}] }};\n")
    return "\n".join(parts)


@functools.cache
def style() -> str:
    """The style sheet."""
    return "\n".join(_read(name) for name in _STYLES)


def _read(name: str) -> str:
    folder = resources.files("hrcallbacks.report") / "assets"
    return (folder / name).read_text(encoding="utf-8").strip() + "\n"


def sha256(text: str) -> str:
    """The hash of an inlined script or style, for a content security policy."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode('ascii')}'"
