"""Has Griffe read this package's docstrings as they are meant.

Why: Griffe shows `Example:` as a box of text, and takes prose before a colon for a
type.
"""

import re

import griffe

# Griffe knows the plural alone.
EXAMPLE = re.compile(r"^Example:$", re.M)
# What stands before a colon there is prose, and no type.
RETURNS = re.compile(r"^((?:Returns|Yields):\n +[^:\n]+): ", re.M)


class Docstrings(griffe.Extension):
    """Shows `Example:` as code with its output, and `Returns:` as prose."""

    def on_object(self, *, obj, **_):
        """Called by Griffe with whatever it has found."""
        if obj.docstring and not obj.is_alias:
            text = EXAMPLE.sub("Examples:", obj.docstring.value)
            obj.docstring.value = RETURNS.sub(r"\1&#58; ", text)
