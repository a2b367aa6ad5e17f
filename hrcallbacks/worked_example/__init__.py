"""The worked example: a star's temperature, learned from its luminosity."""
