"""What `Recording.model` says of models that nobody built, for tests."""

import itertools


def layer(path, kind="Dense", *, units=4, activation=None, **said):
    """A layer; dense and convolutional ones have a kernel and a bias."""
    parameters = 8 if kind in ("Dense", "Conv2D") else 0
    own = {"path": path, "class": kind, "units": units, "activation": activation}
    variables = [f"{path}/kernel", f"{path}/bias"] if parameters else []
    return own | {"parameters": parameters, "variables": variables} | said


def model(*layers, loss="mean_squared_error", metrics=(), graph=None, **options):
    """A chain of layers, or a graph of pairs; `options` are the loss's."""
    own = options.pop("own", False)
    paths = [one["path"] for one in layers]
    chain = [[a, b] for a, b in itertools.pairwise(paths)]
    return {
        "layers": list(layers),
        "connections": chain if graph is None else graph,
        "loss": {"name": loss, "options": options, "own": own},
        "metrics": list(metrics),
    }
