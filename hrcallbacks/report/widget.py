"""The page of a recording as a widget in a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hrcallbacks.optional import optional
from hrcallbacks.report.encoding import as_json
from hrcallbacks.report.inlined import script, style
from hrcallbacks.report.write import data_of, named

if TYPE_CHECKING:
    from anywidget import AnyWidget

    from hrcallbacks.recording.recording import Recording

# A module, as anywidget loads them, around the same classic script.
_MODULE = """\
const hrcallbacks = (() => {{
{script}
return hrcallbacks;
}})();
export default {{
  render({{ model, el }}) {{
    const host = document.createElement("div");
    el.append(host);
    hrcallbacks.report(host, JSON.parse(model.get("data")));
  }},
}};
"""


def explore(recording: Recording) -> AnyWidget:
    """A recording as a widget; see `Recording.explore`."""
    with optional(
        "anywidget",
        extra="notebook",
        needed_by="recording.explore()",
        hint='hr.report(recording, "run.html") writes a file and needs nothing more.',
    ):
        import anywidget
        import traitlets

    class Report(anywidget.AnyWidget):
        _esm = _MODULE.format(script=script())
        _css = style()
        data = traitlets.Unicode().tag(sync=True)

    return Report(data=as_json(data_of(named(recording))))
