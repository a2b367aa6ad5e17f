import pytest

from hrcallbacks.optional import optional


def test_what_is_installed_is_imported():
    with optional("the standard library", extra="none"):
        import json

    assert json.loads("1") == 1


def test_what_is_missing_is_named_with_the_command_that_installs_it():
    with (
        pytest.raises(
            ImportError,
            match=r"^A picture needs Nothing \(No module named 'no_such_module'\). "
            r'Install it with: pip install "hrcallbacks\[plot\]".$',
        ) as error,
        optional("Nothing", extra="plot", needed_by="A picture"),
    ):
        import no_such_module  # noqa: F401

    assert isinstance(error.value.__cause__, ModuleNotFoundError)


def test_a_hint_follows():
    with (
        pytest.raises(ImportError, match=r'\[stars\]". Or do without.$'),
        optional("Nothing", extra="stars", hint="Or do without."),
    ):
        import no_such_module  # noqa: F401


def test_other_errors_pass():
    with (
        pytest.raises(ZeroDivisionError),
        optional("Nothing", extra="plot"),
    ):
        1 / 0  # noqa: B018
