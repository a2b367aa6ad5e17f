"""How well colours can be told from the paper: WCAG 2."""

import numpy as np
from matplotlib.colors import to_rgb

WHITE, DARK = "#ffffff", "#1e2129"


def linear(color):
    """Linear RGB of a colour (IEC 61966-2-1)."""
    rgb = np.array(to_rgb(color))
    return np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)


def contrast(one, other):
    """Contrast ratio of WCAG 2."""
    lights = [linear(c) @ (0.2126, 0.7152, 0.0722) + 0.05 for c in (one, other)]
    return max(lights) / min(lights)
