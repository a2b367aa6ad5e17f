"""What kernels are forks of: a process that has imported TensorFlow, and with it Keras.

Why: see `forked.py`. Both import what else is installed, so that is hidden from them.
"""

import extras

extras.hide(extras.hidden({"tensorflow"}))

import ipykernel.kernelapp  # noqa: F401
import tensorflow  # noqa: F401
