import numpy as np
import pytest

from hrcallbacks.checks import positive_integer


class Dozen:
    def __index__(self):
        return 12


@pytest.mark.parametrize("value", [7, np.int64(7), np.uint8(7), np.array(7)])
def test_each_kind_of_integer_becomes_an_int(value):
    number = positive_integer(value, "n")
    assert type(number) is int
    assert number == 7


def test_what_stands_for_an_integer_is_one():
    assert positive_integer(Dozen(), "n") == 12


@pytest.mark.parametrize(
    "value", [0, -3, True, np.True_, 2.0, np.float64(2), "2", None, [2], np.int32(0)]
)
def test_what_is_no_positive_integer_is_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^Expected n: an int, 1 or more. ") as error:
        positive_integer(value, "n")
    assert str(error.value).endswith(f"Received: n={value!r}.")


def test_a_hint_says_what_to_type():
    with pytest.raises(ValueError, match=r"Received: n=0. Try n=1.$"):
        positive_integer(0, "n", hint="Try n=1.")
