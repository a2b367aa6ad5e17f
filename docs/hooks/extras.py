"""Hides from a page's kernel what the page does not tell readers to install.

Why: pages are executed where everything is installed, and readers paste them where only
that is installed which the page names.
"""

import importlib.machinery as machinery
import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
BACKENDS = {"tensorflow", "jax", "torch"}
# What users install on request; the docs and the tests have packages of their own.
OFFERED = {*EXTRAS} - {"all", "docs", "examples", "site-test", "test", "zoo"}
_COMMAND = re.compile(
    r'^# (?:Install: )?`?pip install "hrcallbacks\[([a-z,]+)\]"([^`\n]*)`?$', re.M
)
_FIND = machinery.PathFinder.find_spec


def named(text):
    """The extras, and the other packages, that a script says to install; or None."""
    found = _COMMAND.search(text)
    return found and ({*found[1].split(",")}, {*found[2].split()})


def hide(modules):
    """Lets these modules not be found from now on, and all others be found."""

    def find(name, path=None, target=None):
        return None if name in modules else _FIND(name, path, target)

    machinery.PathFinder.find_spec = find


def hidden(extras, more=()):
    """Modules of the other extras that are offered."""
    core = {name_of(requirement) for requirement in PROJECT["dependencies"]}
    own = set().union(*map(packages, extras))
    others = set().union(*map(packages, OFFERED))
    return modules_of(others - brought_by(core | own | {*more}))


def packages(extra):
    """Names of the packages of an extra."""
    return {name_of(requirement) for requirement in EXTRAS[extra]} - {"hrcallbacks"}


def name_of(requirement):
    """The name of a package that is required."""
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def brought_by(names):
    """These packages, and all that they require in turn."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        waiting |= {name_of(r) for r in required if "extra ==" not in r} - found
    return found


def modules_of(names):
    """Top-level modules of these packages, as far as they are installed."""
    modules = importlib.metadata.packages_distributions()
    return {m for m, dists in modules.items() if {name_of(d) for d in dists} & names}
