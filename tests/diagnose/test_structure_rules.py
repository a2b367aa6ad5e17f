import numpy as np
import pytest
from structures import layer, model
from synthetic import recording_of

from hrcallbacks.diagnose.structure import Structure


def found(rule, *layers, losses=None, **about):
    recording = recording_of(
        {"a/kernel": np.ones((40, 2, 2))}, loss=losses, model=model(*layers, **about)
    )
    return recording.diagnose(rule)


CCE, SPARSE = "categorical_crossentropy", "sparse_categorical_crossentropy"
BCE = "binary_crossentropy"


@pytest.mark.parametrize(
    ("loss", "logits", "activation", "units", "said"),
    [
        (CCE, False, "softmax", 3, None),
        (CCE, False, "linear", 3, "takes probabilities"),
        (CCE, False, "relu", 3, "takes probabilities"),
        (CCE, False, "tanh", 3, "takes probabilities"),
        (CCE, False, "sigmoid", 3, "do not add up to 1"),
        (CCE, False, "sigmoid", 1, "over a single unit"),
        (CCE, True, "linear", 3, None),
        (CCE, True, "softmax", 3, "the loss is to apply the softmax"),
        (CCE, True, "relu", 3, "that cuts them"),
        (SPARSE, False, "softmax", 3, None),
        (SPARSE, False, None, 3, "takes probabilities"),
        (BCE, False, "sigmoid", 1, None),
        (BCE, False, "softmax", 2, None),
        (BCE, False, "softmax", 1, "is 1 whatever comes in"),
        (BCE, False, "linear", 1, "takes probabilities"),
        (BCE, True, "linear", 1, None),
        (BCE, True, "sigmoid", 1, "takes logits"),
        ("mean_squared_error", False, None, 1, None),
        ("mean_squared_error", False, "softmax", 1, "is 1 whatever comes in"),
    ],
)
def test_output_and_loss_fit_or_do_not(loss, logits, activation, units, said):
    output = layer("b", units=units, activation=activation)
    got = found("output_activation", output, loss=loss, from_logits=logits)
    assert len(got) == (said is not None)
    if said:
        assert said in got["evidence"][0]
        assert (got["severity"][0], got["path"][0]) == ("warning", "b/kernel")


def test_an_activation_may_be_a_layer_of_its_own():
    parts = [
        layer("b", units=3, activation="linear"),
        layer("drop", "Dropout", units=None),
        layer("soft", "Softmax", units=None, activation="softmax"),
    ]
    assert found("output_activation", *parts, loss=CCE).empty
    again = layer("more", "Softmax", units=None, activation="softmax")
    twice = found("output_activation", *parts, again, loss=CCE)
    assert "two softmax" in twice["evidence"][0]


def test_of_a_loss_of_ones_own_nothing_is_known():
    assert found("output_activation", layer("b"), loss=CCE, own=True).empty


@pytest.mark.parametrize(
    ("activations", "said"),
    [
        (["relu", "relu", "relu"], None),
        (["softmax", "relu", "relu"], "softmax as activation"),
        (["exponential", "exponential", "relu"], "2 hidden layers"),
        ([None, "relu", "relu"], "no activation before the next"),
        (["sigmoid", "sigmoid", "sigmoid"], "a quarter of the gradient"),
        (["sigmoid", "sigmoid", "relu"], None),
    ],
)
def test_hidden_activations(activations, said):
    hidden = [layer(f"h{n}", activation=a) for n, a in enumerate(activations)]
    got = found("hidden_activation", *hidden, layer("out"))
    assert [said in e for e in got["evidence"]] == ([] if said is None else [True])
    assert set(got["severity"]) <= {"note"}


def test_a_layer_before_its_activation_or_a_narrow_one_is_not_bare():
    parts = [
        layer("a", activation="linear"),
        layer("norm", "BatchNormalization", units=None),
        layer("relu", "ReLU", units=None, activation="relu"),
        layer("b", units=2),  # A bottleneck: half as wide as what follows.
        layer("c", units=4, activation="relu"),
        layer("d", units=1),
    ]
    assert found("hidden_activation", *parts).empty


def test_where_ways_join_nothing_is_said_of_a_layer_before():
    parts = [
        layer(n, activation=a)
        for n, a in zip("abcd", ("relu", None, None, None), strict=True)
    ]
    parts[2] = layer("c", "Add", units=None)
    graph = [["a", "b"], ["a", "c"], ["b", "c"], ["c", "d"]]
    assert found("hidden_activation", *parts, graph=graph).empty
    structure = Structure(model(*parts, graph=graph))
    assert not structure.is_chain
    assert [n.path for n in structure.outputs] == ["d"]
    assert [n.path for n in structure.first] == ["a"]


def test_a_note_becomes_the_cause_once_nothing_is_learnt():
    parts = [layer(n) for n in "abc"]
    for losses, severity in ((None, "note"), (np.ones(40), "severe")):
        got = found(["hidden_activation", "no_progress"], *parts, losses=losses)
        assert got["severity"][0] == severity
        assert got["cause"].dropna().tolist() == (
            ["hidden_activation"] if severity == "severe" else []
        )


@pytest.mark.parametrize(
    ("activation", "metrics", "said"),
    [
        (None, [], None),
        ("relu", [], "answers 0 or more"),
        ("sigmoid", [], "from 0 to 1"),
        ("sigmoid", ["accuracy"], "classes are compared as if they were amounts"),
    ],
)
def test_the_range_of_a_regression(activation, metrics, said):
    output = layer("b", activation=activation)
    got = found("output_range", output, metrics=metrics)
    assert [said in e for e in got["evidence"]] == ([] if said is None else [True])


@pytest.mark.parametrize(
    ("untouched", "parameters", "warned"), [(True, 80, 1), (True, 4, 0), (False, 80, 0)]
)
def test_frozen_layers_that_were_never_trained(untouched, parameters, warned):
    frozen = layer("a", trainable=False, untouched=untouched)
    frozen |= {"parameters": parameters, "variables": []}
    got = found("frozen_share", frozen, layer("b"))
    assert got["severity"].tolist() == ["warning"] * warned
