import pytest
from hypothesis import given
from hypothesis import strategies as st

from hrcallbacks.selection.variables import (
    check_pattern,
    matches,
    select_variables,
    unique_paths,
)


class Variable:
    def __init__(self, path):
        self.path = path


MODEL = [
    Variable(path)
    for path in ("net/hidden/kernel", "net/hidden/bias", "net/output/kernel")
]


def selected(pattern):
    return list(select_variables(pattern, MODEL))


def test_none_selects_every_variable():
    assert selected(None) == [v.path for v in MODEL]


def test_glob_selects_by_path_across_slashes():
    assert selected("*/kernel") == ["net/hidden/kernel", "net/output/kernel"]


def test_glob_need_not_name_the_model():
    assert selected("hidden/*") == ["net/hidden/kernel", "net/hidden/bias"]


def test_list_of_globs_selects_the_union_in_the_models_order():
    assert selected(["output/*", "*/bias"]) == ["net/hidden/bias", "net/output/kernel"]


def test_callable_selects_by_variable():
    assert selected(lambda v: v is MODEL[1]) == ["net/hidden/bias"]


@pytest.mark.parametrize("pattern", ["*/gamma", ["*/kernel", "*/gamma"]])
def test_unmatched_pattern_lists_the_paths(pattern):
    with pytest.raises(ValueError, match=r"'\*/gamma'.*net/hidden/bias.*Try"):
        selected(pattern)


def test_unmatched_pattern_names_the_closest_path():
    with pytest.raises(ValueError, match=r"Try variables='output/kernel'"):
        selected("ouput/kernel")


def test_many_paths_are_not_all_listed():
    layers = [Variable(f"net/layer_{n}/kernel") for n in range(500)]
    with pytest.raises(ValueError, match=r"layer_9/kernel', \.\.\. 480 more") as caught:
        select_variables("*/gamma", layers)
    assert "'net/layer_499/kernel']" in str(caught.value)  # The head is often last.
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("pattern", ["", []])
def test_empty_pattern_is_refused(pattern):
    with pytest.raises(ValueError, match=r"selects nothing.*None for every"):
        check_pattern(pattern)


@pytest.mark.parametrize("pattern", [MODEL, MODEL[0]])
def test_variables_themselves_are_refused_with_their_paths(pattern):
    with pytest.raises(TypeError, match=r"variables=\['net/hidden/kernel'"):
        check_pattern(pattern)


def test_callable_that_selects_nothing_lists_the_paths():
    with pytest.raises(ValueError, match=r"No trainable variable.*net/hidden/bias"):
        selected(lambda v: False)


def test_model_without_trainable_variables_is_refused():
    with pytest.raises(ValueError, match="no trainable variables"):
        select_variables(None, [])


def test_colliding_paths_are_told_apart():
    twins = [Variable("a/kernel"), Variable("b"), Variable("a/kernel")]
    assert unique_paths(twins) == ["a/kernel", "b", "a/kernel#2"]
    assert list(select_variables("*/kernel*", twins).values()) == [twins[0], twins[2]]


@given(st.text("ab/", min_size=1))
def test_a_path_matches_itself_and_star(path):
    assert matches(path, path)
    assert matches(path, "*")
