#!/usr/bin/env -S uv run --script
# /// script
# requires-python = ">=3.11"
# dependencies = ["nox>=2025.2.9", "uv>=0.5"]
# ///
"""The checks of this project, each in an environment of its own.

    nox -l                              lists them
    nox -s lint types                   runs two of them
    nox -s tests-jax -- tests/test_x.py gives what follows to pytest
    nox -R -s tests-jax                 reuses the environment of the last time

`.ci/nox` does the same where nox is not installed yet.
"""

import os
import re
from pathlib import Path

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"

BACKENDS = ["tensorflow", "jax", "torch"]
OLDEST_PYTHON, NEWEST_PYTHON = "3.11", "3.13"  # As the classifiers in pyproject.toml.
# The CPU build: a newer one brings gigabytes, no use on a machine without a GPU.
TORCH = "torch==2.13.0"

# What the benchmarks call the machine that they run on: figures are ratios.
MACHINE = os.environ.get("ASV_MACHINE", "two_cores")

# Whose files are read back. uv.lock leaves them out: they need hundreds of packages.
LOGGERS = ["mlflow>=3", "trackio>=0.20", "wandb>=0.20"]

# Tests of what is the same on each backend: CI runs them on TensorFlow.
NEUTRAL = [
    "tests/cli",
    "tests/diagnose/test_benchmark.py",
    "tests/diagnose/test_healthy_kinds.py",
    "tests/export",
    "tests/plot",
    "tests/report",
    "tests/selection",
    "tests/storage/test_damage.py",
    "tests/storage/test_formats.py",
    "tests/storage/test_other_readers.py",
    "tests/storage/test_remote.py",
    "tests/test_docs.py",
    "tests/test_examples.py",
    "tests/test_habits.py",
    "tests/test_package.py",
    "tests/test_progress.py",
    "tests/test_snippets.py",
    "tests/test_terminal.py",
    "tests/worked_example/test_backprop.py",
    "tests/worked_example/test_reconstruct_catalog.py",
    "tests/worked_example/test_stars.py",
    "tests/worked_example/test_vizier.py",
]

# Tests of what becomes of arrays once they have left a step: PyTorch, on which they are
# quickest, runs them beside TensorFlow.
OF_RECORDS = [
    "tests/diagnose/test_diagnose.py",
    "tests/recording/test_runs.py",
    "tests/storage/test_zarr_store.py",
]

# The share of public names whose types are known, in percent. Only ever raise it.
MIN_TYPED = 99.5

PYPROJECT = nox.project.load_toml("pyproject.toml")


@nox.session(name="tests-tensorflow")
def tests_tensorflow(session: nox.Session) -> None:
    """Run the tests on TensorFlow."""
    install(session, "tensorflow", "test")
    run_tests(session, "tensorflow")


@nox.session(name="tests-jax", default=False)
def tests_jax(session: nox.Session) -> None:
    """Run the tests on JAX."""
    install(session, "jax", "test")
    # Each test makes models of its own, whose steps XLA would compile anew: of many it
    # has compiled the like already.
    session.env["JAX_COMPILATION_CACHE_DIR"] = session.create_tmp()
    session.env["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
    session.env["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
    run_tests(session, "jax", *ignored(NEUTRAL + OF_RECORDS))


@nox.session(name="tests-torch", default=False)
def tests_torch(session: nox.Session) -> None:
    """Run the tests on PyTorch."""
    install(session, "torch", "test")
    run_tests(session, "torch", *ignored(NEUTRAL))


@nox.session(default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def zoo(session: nox.Session, backend: str) -> None:
    """Train models that others wrote; the large ones take minutes each to compile."""
    install(session, backend, "test", "zoo")
    table = Path(session.create_tmp()).resolve() / "zoo.jsonl"
    table.unlink(missing_ok=True)
    session.env["HRCALLBACKS_ZOO_TABLE"] = str(table)
    try:
        run_tests(session, backend, "tests/zoo")
    finally:
        if table.is_file():
            print(table.read_text(), end="")


@nox.session(default=False)
def remote(session: nox.Session) -> None:
    """Train with a store on S3, on a server on loopback."""
    install(session, "tensorflow", "test", "remote")
    run_tests(session, "tensorflow", "tests/storage/test_remote.py")


@nox.session(default=False)
def loggers(session: nox.Session) -> None:
    """Log to W&B, MLflow and Trackio, offline, and read their files."""
    install(session, "tensorflow", "test")
    session.install(*LOGGERS)
    run_tests(session, "tensorflow", "tests/sinks/test_loggers.py")


@nox.session(default=False)
def benchmarks(session: nox.Session) -> None:
    """Measure whether something got slower; see docs/data/benchmarks.csv."""
    install(session, "tensorflow", "test")
    session.install("asv>=0.6.4")
    commit = session.run("git", "rev-parse", "HEAD", external=True, silent=True)
    with session.chdir("tests/benchmarks"):
        session.run("asv", "machine", "--yes", "--machine", MACHINE)
        session.run(
            *("asv", "run", "--python=same", "--machine", MACHINE, "--show-stderr"),
            f"--set-commit-hash={(commit or '').strip()}",
            *session.posargs,
            env={"KERAS_BACKEND": "tensorflow"},
        )
    session.env["KERAS_BACKEND"] = "tensorflow"
    session.run("python", "tests/benchmarks/keep.py")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the site into site/, and read it in a browser (needs `chromium`)."""
    install(session, "tensorflow", "site-test")
    session.run("mkdocs", "build", "--strict")
    session.env["SITE_DIR"] = "site"
    run_tests(session, "tensorflow", "tests/test_site.py", "tests/report")


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, formatting, spelling, the workflows, and that uv.lock is current."""
    install_group(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("codespell")
    session.run("zizmor", "--offline", "--quiet", ".github")
    session.run("uv", "lock", "--check", "--quiet")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, and how many of the names in the wheel have one."""
    install_group(session, "types")
    install_torch(session)
    folder = Path(session.create_tmp()).resolve()
    session.run_install(
        "uv", "build", "--quiet", "--wheel", "--clear", f"--out-dir={folder}"
    )
    (wheel,) = folder.glob("*.whl")
    session.install(f"hrcallbacks[all] @ {wheel.as_uri()}", "pytest")
    session.run("pyright")
    session.run("python", "-m", "pytest", "-q", "tests/types_of_snippets.py")
    # Of a DataFrame nothing is known for certain without them.
    session.install("pandas-stubs==3.1.0.261029")
    check_typed(session, folder)


@nox.session(venv_backend="uv", python=OLDEST_PYTHON, default=False)
def oldest(session: nox.Session) -> None:
    """Run the tests on TensorFlow, with the oldest versions that are allowed."""
    session.env["UV_RESOLUTION"] = "lowest-direct"
    install(session, "tensorflow", "test")
    # Old releases use what newer ones below them have deprecated.
    run_tests(session, "tensorflow", "-Wdefault::DeprecationWarning")


@nox.session(python=NEWEST_PYTHON, default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def newest(session: nox.Session, backend: str) -> None:
    """Run the tests on the newest Python, with the newest of everything."""
    install(session, backend, "test")
    run_tests(session, backend)


@nox.session(venv_backend="uv", default=False)
@nox.parametrize("backend", BACKENDS, ids=BACKENDS)
def nightly(session: nox.Session, backend: str) -> None:
    """Run the tests on Keras' nightly build."""
    install(session, backend, "test")
    session.run_install("uv", "pip", "uninstall", "keras")
    session.install("--prerelease=allow", "--no-deps", "keras-nightly")
    session.env["KERAS_BACKEND"] = backend
    session.run("python", "-c", "import keras; print('Keras', keras.__version__)")
    run_tests(session, backend)


def install(session: nox.Session, backend: str, *extras: str) -> None:
    """Install this package, editable, with a backend of Keras and other extras."""
    # As pip does. Compiled on import instead, under the tests' `error` filter, the
    # warnings that others' syntax raises would fail them.
    session.env["UV_COMPILE_BYTECODE"] = "1"
    if backend == "torch":
        install_torch(session)
    session.install("--editable", f".[{','.join([backend, *extras])}]")


def install_torch(session: nox.Session) -> None:
    """Install PyTorch before anything else asks for it.

    By pip, which looks for wheels where this machine tells it to; uv does not.
    """
    session.install("pip")
    session.run_install("python", "-m", "pip", "install", "--quiet", TORCH)


def install_group(session: nox.Session, group: str) -> None:
    """Install a dependency group of pyproject.toml, without this package."""
    session.install(*nox.project.dependency_groups(PYPROJECT, group))


def run_tests(session: nox.Session, backend: str, *arguments: str) -> None:
    """Run pytest with these arguments, and with those after `--`."""
    session.env["KERAS_BACKEND"] = backend
    session.run(
        *("python", "-m", "pytest", "-p", "no:cacheprovider"),
        *arguments,
        *session.posargs,
    )


def ignored(paths: list[str]) -> list[str]:
    """Arguments of pytest that leave these out."""
    return [f"--ignore={path}" for path in paths]


def check_typed(session: nox.Session, folder: Path) -> None:
    """Fail if fewer public names have known types than `MIN_TYPED` says.

    Args:
        session: In whose environment the package is installed, and pyright.
        folder: Where pyright starts: not here, where it would read the sources in place
            of what is installed. Gets the whole report.
    """
    with session.chdir(folder):
        report = session.run(
            *("pyright", "--verifytypes", "hrcallbacks", "--ignoreexternal"),
            silent=True,
            success_codes=[0, 1],  # 1: not all is typed.
        )
    if not report:  # With --install-only.
        return
    path = folder / "verifytypes.txt"
    path.write_text(report)
    (score,) = re.findall(r"^Type completeness score: ([\d.]+)%", report, re.M)
    session.log(f"{score} % of the public names are typed; the others are in {path}")
    if float(score) < MIN_TYPED:
        session.error(f"That is less than {MIN_TYPED} %, see MIN_TYPED in noxfile.py.")


if __name__ == "__main__":
    nox.main()
