import pytest

from hrcallbacks.diagnose.units import layers


def found(**shapes):
    named = {name.replace("__", "/"): shape for name, shape in shapes.items()}
    return [
        (layer.kernel, layer.count, layer.bias, [p for p, _ in layer.outgoing])
        for layer in layers(named)
    ]


def test_dense_layers_lead_into_the_next():
    assert found(
        a__kernel=(2, 3), a__bias=(3,), b__kernel=(3, 5), b__bias=(5,), c__kernel=(5, 1)
    ) == [
        ("a/kernel", 3, "a/bias", ["b/kernel"]),
        ("b/kernel", 5, "b/bias", ["c/kernel"]),
    ]


def test_convolutions_and_what_is_flattened():
    assert found(
        conv__kernel=(3, 3, 1, 4), next__kernel=(3, 3, 4, 8), dense__kernel=(72, 1)
    ) == [
        ("conv/kernel", 4, None, ["next/kernel", "dense/kernel"]),
        ("next/kernel", 8, None, ["dense/kernel"]),
    ]


def test_a_transposed_convolution_has_its_units_before_its_inputs():
    shapes = {"up/kernel": (3, 3, 8, 4), "up/bias": (8,), "out/kernel": (1, 1, 8, 1)}
    (layer,) = layers({"in/kernel": (9, 4), "in/bias": (4,), **shapes})[1:]
    assert (layer.kernel, layer.axis, layer.count) == ("up/kernel", -2, 8)
    assert layers({"in/kernel": (9, 4), **shapes})[0].outgoing[0] == ("up/kernel", -1)


@pytest.mark.parametrize(
    "shapes",
    [
        {"lstm__kernel": (2, 12), "lstm__recurrent_kernel": (3, 12)},
        {"lstm__kernel": (2, 3), "lstm__recurrent_kernel": (3, 3)},
        {"query__kernel": (8, 2, 4), "query__bias": (2, 4)},
        {"a__depthwise_kernel": (3, 3, 4, 1)},
        {"words__embeddings": (9, 4)},
        {"norm__gamma": (4,)},
    ],
)
def test_what_has_no_units_of_its_own(shapes):
    assert found(**shapes, out__kernel=(12, 1)) == []


def test_layers_of_the_same_name_keep_their_own_bias():
    shapes = {"a/kernel": (1, 2), "a/bias": (2,), "a/kernel#2": (2, 2)}
    made = layers({**shapes, "a/bias#2": (2,), "b/kernel": (2, 1)})
    assert [layer.bias for layer in made] == ["a/bias", "a/bias#2"]
