"""The interactive figures of the documentation's worked example.

Each function returns an object that a notebook shows and a script does not print. It
holds the script, the style and its data: nothing is loaded from elsewhere.
"""

from __future__ import annotations

import html
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.report.encoding import as_json, float32
from hrcallbacks.report.inlined import script, style
from hrcallbacks.report.links import links

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_FIGURE = """\
<div class="hrc hrc-figure" id="{name}"><p>{sentence}</p></div>
<script type="application/json" id="{name}-data">{data}</script>
<script>
(function () {{
  const sheet = document.createElement("style");
  sheet.textContent = {style};
  document.head.append(sheet);
{script}
hrcallbacks.{kind}(
  document.getElementById("{name}"),
  JSON.parse(document.getElementById("{name}-data").textContent),
);
}})();
</script>
"""


@dataclass(frozen=True)
class Figure:
    """An interactive figure in a page.

    Attributes:
        kind: Which function of the script draws it.
        data: What that function takes.
        sentence: What stands in its place without JavaScript.
    """

    kind: str
    data: Mapping[str, Any]
    sentence: str

    def _repr_html_(self) -> str:
        """Markup for a notebook."""
        return _FIGURE.format(
            name=f"hrc-figure-{self.kind}",
            kind=self.kind,
            sentence=f"{self.sentence} It needs JavaScript.",
            data=as_json(self.data),
            style=as_json(style()),
            script=script(),
        )


@dataclass(frozen=True)
class Frame:
    """A page of `hr.report`, as it is, in a frame of another page.

    Attributes:
        page: The file's text.
        title: What the frame is called for those who do not see it.
    """

    page: str
    title: str

    def _repr_html_(self) -> str:
        """Markup for a notebook."""
        title, page = html.escape(self.title), html.escape(self.page)
        return (
            f'<iframe class="hrc-frame" title="{title}" srcdoc="{page}" '
            'style="width: 100%; height: 40rem; border: 1px solid #8888"></iframe>'
        )


def frame(path: str | os.PathLike[str], title: str) -> Frame:
    """The page that `hr.report` wrote, to look at beside the text about it.

    Args:
        path: The file.
        title: What is in it, for those who do not see it.
    """
    return Frame(Path(path).read_text(encoding="utf-8"), title)


def tables(recordings: Mapping[Any, Recording]) -> Figure:
    """A slider over the epochs of several runs of the network, side by side.

    Args:
        recordings: By learning rate, of raw weights and gradients.
    """
    runs = [{"name": str(name), "network": links(r)} for name, r in recordings.items()]
    sentence = "Here a slider goes through the epochs of both runs, side by side."
    return Figure("tables", {"runs": runs}, sentence)


def stepper(parameters: Sequence[npt.ArrayLike], x: float, y: float) -> Figure:
    """One star, forward and back through the equations.

    Args:
        parameters: Of the network, in the order of Keras' `get_weights`.
        x: The star's input.
        y: Its target.
    """
    data = {"x": float(x), "y": float(y), "parameters": _named(parameters)}
    sentence = "Here a slider goes through equations (1) to (11), with their numbers."
    return Figure("stepper", data, sentence)


def trainer(
    starts: Mapping[str, Sequence[npt.ArrayLike]],
    published: Mapping[str, tuple[float, pd.DataFrame]],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
) -> Figure:
    """The network, trained in the page at any rate.

    Args:
        starts: Initial parameters by the start's name.
        published: The rate and the table of the run from each start.
        x: Inputs of all stars.
        y: Their targets.
    """
    data = {
        "x": float32(np.ravel(x)),
        "y": float32(np.ravel(y)),
        "starts": {
            name: {
                "rate": published[name][0],
                "parameters": _named(parameters),
                "published": published[name][1].drop(columns="epoch").values.tolist(),
            }
            for name, parameters in starts.items()
        },
    }
    sentence = "Here the network is trained in the page, at a learning rate you choose."
    return Figure("trainer", data, sentence)


def _named(parameters: Sequence[npt.ArrayLike]) -> dict[str, list[float]]:
    names = ("w1", "b1", "w2", "b2")
    flat = [np.ravel(np.asarray(p, np.float64)).tolist() for p in parameters]
    return dict(zip(names, flat, strict=True))
