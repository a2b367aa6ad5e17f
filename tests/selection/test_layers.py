"""Which layers a model has, and what they are called."""

import keras

from hrcallbacks.selection.layers import layers_of


class Unnamed(keras.layers.Layer):
    """Its inner layer never gets a path of its own: it is built outside any scope."""

    def __init__(self, **options):
        super().__init__(**options)
        self.inner = keras.layers.Softmax(name="weights")
        self.inner.built = True

    def call(self, x):
        return self.inner(x)


def test_a_layer_without_a_path_is_named_below_what_it_is_in():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, Unnamed(name="second")(Unnamed(name="first")(inputs)))
    assert all(block.inner.path is None for block in model.layers[1:])
    paths = [found.path for found in layers_of(model)]
    assert paths[1:] == ["first", "first/weights", "second", "second/weights"]
