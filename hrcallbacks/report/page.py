"""The HTML file: markup that is always the same, and data that is never markup."""

from __future__ import annotations

import html
from typing import Any

from hrcallbacks.report.encoding import as_json
from hrcallbacks.report.inlined import script, sha256, style

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body class="hrc-page">
<main id="report" class="hrc"><noscript><p>This page draws a recording of \
gradients and weights with JavaScript, which is switched off here. It needs no network.\
</p></noscript></main>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""
_START = """
hrcallbacks.report(
  document.getElementById("report"),
  JSON.parse(document.getElementById("data").textContent),
);
"""


def page(data: dict[str, Any], *, title: str) -> str:
    """The file's text.

    The policy in it lets the browser run this script alone, and load nothing.

    Args:
        data: What `hrcallbacks.report` in the script draws.
        title: Of the browser's window.
    """
    code = f"\n{script()}{_START}"
    sheet = f"\n{style()}"
    policy = (
        f"default-src 'none'; script-src {sha256(code)}; style-src 'unsafe-inline'; "
        "base-uri 'none'; form-action 'none'"
    )
    return _PAGE.format(
        policy=policy,
        title=html.escape(title),
        style=sheet,
        data=as_json(data),
        script=code,
    )
