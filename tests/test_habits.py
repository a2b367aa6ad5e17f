"""What several files of this repository say of the same thing is the same."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


def project() -> dict:
    return tomllib.loads(text("pyproject.toml"))["project"]


def noxfile() -> ast.Module:
    return ast.parse(text("noxfile.py"))


def sessions() -> set[str]:
    """Names of the sessions in noxfile.py, without their parameters."""
    functions = [node for node in noxfile().body if isinstance(node, ast.FunctionDef)]
    return {
        name
        for function in functions
        for decorator in function.decorator_list
        if (name := session_name(function, decorator))
    }


def session_name(function: ast.FunctionDef, decorator: ast.expr) -> str | None:
    """What `decorator` calls the session, or None if it does not make one."""
    call = ast.unparse(decorator)
    if not call.startswith("nox.session"):
        return None
    named = re.search(r"\bname='([^']+)'", call)
    return named[1] if named else function.name


def constant(name: str) -> object:
    """The value that noxfile.py gives to `name`."""
    for node in noxfile().body:
        if isinstance(node, ast.Assign):
            names, values = node.targets[0], node.value
            pairs = (
                zip(names.elts, values.elts, strict=True)
                if isinstance(names, ast.Tuple) and isinstance(values, ast.Tuple)
                else [(names, values)]
            )
            for target, value in pairs:
                if ast.unparse(target) == name:
                    return ast.literal_eval(value)
    raise AssertionError(f"noxfile.py has no {name}")


def lower_bound(package: str) -> str:
    """The lowest version of a dependency, as in `keras>=3.10`."""
    (bound,) = [x for x in project()["dependencies"] if x.startswith(f"{package}>=")]
    return bound.removeprefix(f"{package}>=")


def pythons() -> list[str]:
    """The versions of Python among the classifiers, the oldest first."""
    return re.findall(
        r"^Programming Language :: Python :: (3\.\d+)$",
        "\n".join(project()["classifiers"]),
        re.M,
    )


def test_ci_calls_sessions_that_there_are() -> None:
    called = set(re.findall(r"^\s*session ([\w-]+) \|\|", text(".ci/run"), re.M))
    assert called == {"docs", "lint", "tests-jax", "tests-torch", "types"}
    assert called <= sessions()


def test_workflows_call_sessions_that_there_are() -> None:
    listed = re.search(
        r"session:\n((?:\s+- \S+\n)+)", text(".github/workflows/tests.yml")
    )
    assert listed
    called = set(re.findall(r"- ([\w-]+)", listed[1]))
    inline = re.search(r"session: \[(.*?)\]", text(".github/workflows/nightly.yml"))
    assert inline
    called |= set(inline[1].split(", "))
    assert called == sessions()


def test_the_backends_have_extras() -> None:
    backends = constant("BACKENDS")
    assert backends == ["tensorflow", "jax", "torch"]
    assert set(backends) <= set(project()["optional-dependencies"])
    assert {f"tests-{backend}" for backend in backends} <= sessions()


def test_the_citation_has_the_version_and_the_licence() -> None:
    citation = dict(re.findall(r"^(\w+): (\S+)$", text("CITATION.cff"), re.M))
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]


def test_the_readme_states_the_supported_versions() -> None:
    window = re.search(
        r"^Python (\S+) to (\S+), NumPy (\S+) or newer, Keras (\S+) or newer\.",
        text("README.md"),
        re.M,
    )
    assert window
    oldest, newest, numpy, keras = window.groups()
    assert project()["requires-python"] == f">={oldest}"
    assert (oldest, newest) == (pythons()[0], pythons()[-1])
    assert (numpy, keras) == (lower_bound("numpy"), lower_bound("keras"))


def test_the_ends_of_the_supported_versions_are_tested() -> None:
    assert constant("OLDEST_PYTHON") == pythons()[0]
    assert constant("NEWEST_PYTHON") == pythons()[-1]


def test_hooks_and_sessions_use_the_same_version_of_a_tool() -> None:
    groups = tomllib.loads(text("pyproject.toml"))["dependency-groups"]
    pins = dict(x.split("==") for x in groups["lint"] if "==" in x)
    assert pins.keys() == {"codespell", "ruff", "zizmor"}
    hooks = re.findall(
        r"repo: \S+/(\w+?)(?:-pre-commit)?\n\s+rev: v(\S+)",
        text(".pre-commit-config.yaml"),
    )
    assert pins.items() <= set(hooks)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_to_a_commit(path: Path) -> None:
    used = re.findall(r"uses: (\S+)", path.read_text(encoding="utf-8"))
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", action), action
