"""Arguments that several functions share, as types."""

from typing import Literal

Quantity = Literal["gradients", "weights"]
