"""Names of the outputs of layers: see `GradientRecorder(outputs=)`."""

import re

# What goes into a layer's own activation.
PREACTIVATION = "preactivation"
# What a name has beside a layer's path: which call, which output.
_DETAILS = re.compile(r"(#\d+)?(\.[^/]*)?$")


def layer_of(name: str) -> str:
    """The layer's path in a name such as `tower#2`, `lstm.0`, `hidden/preactivation`.

    Example:
        >>> [layer_of(n) for n in ("a/tower#2", "lstm.0", "hidden#2/preactivation")]
        ['a/tower', 'lstm', 'hidden']
    """
    name = name.removesuffix(f"/{PREACTIVATION}")
    return _DETAILS.sub("", name)
