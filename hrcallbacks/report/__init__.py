"""A recording as one interactive HTML file: `hr.report(recording, "run.html")`.

The file needs no server, no network and no other file. `write` makes it, `contents`
chooses what a recording shows, and the other modules each make one part of that. What
draws is in `assets/`: plain scripts and one style sheet, joined without a build step.
The documentation's interactive figures (`figures`) and notebooks (`widget`) use the
same script.
"""

import sys
import types
from typing import Any

from hrcallbacks.report.write import report

__all__ = ["report"]


class _Report(types.ModuleType):
    """This module, which can be called: the import system names it `hr.report`."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return report(*args, **kwargs)


sys.modules[__name__].__class__ = _Report
