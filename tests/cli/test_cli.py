"""The shell's commands, as a person types them."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import csv_text
import keras
import numpy as np
import pandas as pd
import pytest
from training import train_worked_example, worked_example_clones

import hrcallbacks as hr
from hrcallbacks.cli.parser import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory, stars):
    """The worked example at learning rate 0.3 in `run.zarr`, and other things."""
    folder = tmp_path_factory.mktemp("shell")
    recorder = hr.GradientRecorder(store=folder / "run.zarr")
    model = worked_example_clones()[0.3]
    norms = hr.GradientRecorder(
        gradients="norm", weights=None, store=folder / "norms.zarr"
    )
    later = hr.GradientRecorder(record_freq=99, store=folder / "empty.zarr")
    with pytest.warns(UserWarning, match="Nothing was recorded"):
        train_worked_example(model, 0.3, stars, "eager", [recorder, norms, later])
    newer = shutil.copytree(folder / "run.zarr", folder / "newer.zarr")
    described = json.loads((newer / "zarr.json").read_text())
    described["attributes"]["format_version"] = 99
    (newer / "zarr.json").write_text(json.dumps(described))
    (folder / "notes.csv").write_text("a,b\n")
    return folder


@pytest.fixture
def type_(folder, monkeypatch, capsys):
    """Types a command in that folder; gives its status, output and errors."""
    monkeypatch.chdir(folder)

    def type_(command):
        try:
            status = main(command.split())
        except SystemExit as stop:
            status = stop.code
        return status, *capsys.readouterr()

    return type_


@pytest.fixture
def recording(folder):
    return hr.open_recording(folder / "run.zarr")


def test_show_has_the_norms_and_the_diagnosis(type_, recording):
    status, shown, errors = type_("show run.zarr")
    assert (status, errors) == (0, "")
    gradients = shown[shown.index("Gradients") : shown.index("Weights")]
    line = next(row for row in gradients.splitlines() if "output/kernel" in row)
    norms = np.linalg.norm(
        np.asarray(recording.gradients["output/kernel"]), axis=(1, 2)
    )
    expected = [norms[0], norms[-1], norms.min(), norms.max()]
    assert line.split()[3:] == [*(f"{n:.3g}" for n in expected), "0"]
    assert "10 records of 4 variables, 19 elements" in shown
    assert f"\nDiagnosis\n{recording.diagnose()!r}\n" in shown
    assert "units 1, 3, 6" in shown


def test_show_goes_on_where_only_the_first_weights_are_damaged(
    type_, tiny, line, tmp_path
):
    path = tmp_path / "run.zarr"
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    tiny.fit(*line, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
    chunks = [p for p in path.glob("fits/0/weights/*/c/**/*") if p.is_file()]
    for chunk in chunks:
        chunk.write_bytes(b"not a chunk")
    assert chunks
    status, out, err = type_(f"show {path}")
    assert (status, err) == (0, "")
    assert "Looked: " in out
    findings = hr.open_recording(path).diagnose()
    why = findings.not_looked["initial_weights"]
    assert re.search(r"the chunk 'c.*'fits/0/weights.*damaged", why)
    assert "dead_units" in findings.looked


def test_csv_read_back_is_the_table(type_, recording):
    status, written, errors = type_("table run.zarr --names symbol")
    assert (status, errors) == (0, "")
    expected = recording.to_frame(names="symbol")
    read = csv_text.read(written)
    pd.testing.assert_frame_equal(read, expected, check_exact=True, check_dtype=False)


def test_layouts_and_variables_are_those_of_to_frame(type_, recording):
    _, written, _ = type_("table run.zarr --layout tidy --variables */bias")
    expected = recording.to_frame(layout="tidy", variables="*/bias")
    read = csv_text.read(written)
    assert read["path"].tolist() == expected["path"].tolist()
    np.testing.assert_array_equal(read["gradient"], expected["gradient"])
    _, written, _ = type_(
        "table run.zarr --variables hidden/bias --variables output/bias"
    )
    assert len(written.splitlines()[0].split(",")) == 6 + 2 * 7
    _, written, _ = type_("table run.zarr --names symbol --biases")
    assert ",gb^2_1" in written.splitlines()[0]


def test_norms_have_a_table_too(type_, folder):
    expected = hr.open_recording(folder / "norms.zarr").to_frame()
    assert [c for c in expected if c.startswith("gradients:norm:")]
    status, written, errors = type_("table norms.zarr")
    assert (status, errors) == (0, "")
    read = csv_text.read(written)
    pd.testing.assert_frame_equal(read, expected, check_exact=True, check_dtype=False)


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("table.csv", "step,epoch,"),
        ("table.tex", "{\\footnotesize"),
        ("table.md", "|   epoch |"),
        ("table.txt", "step,epoch,"),
    ],
)
def test_a_file_has_the_format_that_it_ends_in(type_, folder, name, begins):
    status, said, _ = type_(f"table run.zarr --names symbol -o {name}")
    assert (status, said) == (0, f"Wrote {name}\n")
    assert (folder / name).read_text(encoding="utf-8").startswith(begins)


def test_a_format_that_is_named_wins(type_):
    _, written, _ = type_("table run.zarr --format latex --standalone")
    assert written.startswith("\\documentclass")
    _, written, _ = type_("table run.zarr --format markdown")
    assert "weight:sequential" in written.splitlines()[0]


@pytest.mark.parametrize("name", ["loss", "network"])
def test_plot_writes_a_picture(type_, folder, name):
    status, said, errors = type_(f"plot run.zarr --what {name} --theme dark")
    assert (status, said, errors) == (0, f"Wrote {name}.png\n", "")
    picture = (folder / f"{name}.png").read_bytes()
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000


def test_plot_writes_an_animation(type_, folder):
    status, said, errors = type_("plot run.zarr --what network_animation")
    assert (status, said, errors) == (0, "Wrote network_animation.gif\n", "")
    assert (folder / "network_animation.gif").read_bytes().startswith(b"GIF89a")


def test_plot_takes_what_the_picture_takes(type_, folder):
    command = "plot run.zarr --what trajectories --variables output/* -o few.svg"
    assert type_(command)[0] == 0
    drawn = (folder / "few.svg").read_text(encoding="utf-8")
    assert "output" in drawn
    assert "hidden" not in drawn
    status, _, errors = type_("plot run.zarr --what loss --record 3")
    assert status == 2
    assert "--what loss takes no --record" in errors


def test_what_lists_what_there_is(type_):
    status, listed, _ = type_("plot --what")
    assert status == 0
    names = [line.split()[0] for line in listed.splitlines() if line[2] != " "]
    assert {"loss", "trajectories", "gradient_flow", "network"} <= set(names)
    assert max(map(len, listed.splitlines())) <= 80


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("show no.zarr", "no recording at 'no.zarr'.*There are: empty.zarr, newer.z"),
        ("show elsewhere/no.zarr", "In '.*elsewhere' there is none"),
        ("show notes.csv", "no recording at 'notes.csv'"),
        ("table run.zarr/gradients", "not a recording of hrcallbacks"),
        ("show newer.zarr", "format version 99.*pip install --upgrade hrcallbacks"),
        ("show empty.zarr", "'empty.zarr' is empty.*record_freq=99"),
        ("plot run.zarr --what los", r"no 'los'. Did you mean loss\?.*gradient_flow"),
        ("plot run.zarr", "Type --what and one of these:.*gradient_flow"),
        ("plot --what loss", "Type: hrcallbacks plot run.zarr --what loss"),
        ("plot run.zarr --what loss -o loss.xyz", "'xyz' is not supported.*png"),
        ("plot run.zarr --what network_animation -o a.png", r"'.gif', .*'a.png'"),
        ("plot run.zarr --what loss -o no/loss.png", "there is no folder 'no'"),
        ("table run.zarr -o run.zarr", "this is a folder"),
        (
            "table run.zarr --variables */gamma",
            r"variables=\['\*/gamma'\].*bias'.*variables= is the option --variables",
        ),
        (
            "table run.zarr --layout tidy --names symbol",
            "names='symbol' belongs to.*Here names= is the option --names",
        ),
        (
            "table run.zarr --biases",
            "biases=True belongs to names='symbol'.*biases= is the option --biases",
        ),
        ("table run.zarr --standalone", "for --format latex, not csv"),
        (
            "table norms.zarr --names symbol",
            "none was recorded 'raw'.*gradients 'norm'",
        ),
        ("table run.zarr --format html", r"invalid choice: 'html'.*csv"),
        ("run.zarr", r"invalid choice: 'run.zarr'.*show.*plot.*table"),
        ("", "examples:.*hrcallbacks show run.zarr"),
    ],
)
def test_an_error_says_what_came_and_what_to_type(type_, command, message):
    status, written, errors = type_(command)
    assert (status, written) == (2, "")
    assert re.search(message, errors, re.S), errors
    assert "Traceback" not in errors


def test_several_are_shown_side_by_side(type_, recording):
    status, shown, errors = type_("show run.zarr norms.zarr")
    assert (status, errors) == (0, "")
    assert "run\n  10 records of 4 variables" in shown
    assert "norms\n  10 records of 4 variables" in shown
    assert "learning_rate=0.3" in shown[shown.index("The same in all") :]
    line = next(row for row in shown.splitlines() if row.startswith("dead_units"))
    assert line.split()[1] == "severe"
    status, _, errors = type_("show run.zarr no.zarr")
    assert status == 2
    assert "1 of 2 recordings cannot be opened:\n'no.zarr'" in errors


def test_several_have_one_table(type_, folder, recording):
    shutil.copytree(folder / "run.zarr", folder / "copy.zarr", dirs_exist_ok=True)
    status, written, errors = type_("table run.zarr copy.zarr --variables */bias")
    shutil.rmtree(folder / "copy.zarr")  # The folder is shared.
    assert (status, errors) == (0, "")
    read = csv_text.read(written)
    expected = recording.to_frame(variables="*/bias")
    for name in ("run", "copy"):
        rows = read[read["run"] == name].drop(columns="run").reset_index(drop=True)
        pd.testing.assert_frame_equal(
            rows, expected, check_exact=True, check_dtype=False
        )


def test_several_are_drawn_in_one_picture(type_, folder):
    command = "plot run.zarr norms.zarr --what loss --by learning_rate -o two.svg"
    assert type_(command) == (0, "Wrote two.svg\n", "")
    assert "middle half of 2 runs" in (folder / "two.svg").read_text(encoding="utf-8")
    status, _, errors = type_("plot run.zarr norms.zarr --what gradient_flow --by rate")
    assert status == 2
    assert re.search(r"no column 'rate'.*'learning_rate'", errors)
    status, _, errors = type_("plot run.zarr norms.zarr --what network")
    assert status == 2
    assert "network draws one recording. Of several there are: loss," in errors


def test_a_fault_of_our_own_is_told_without_a_traceback(type_, monkeypatch):
    def fault(*_, **__):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(hr.Recording, "to_frame", fault)
    status, _, errors = type_("table run.zarr")
    assert status == 2
    assert errors == (
        "hrcallbacks: error: ZeroDivisionError: division by zero "
        "(--traceback shows where)\n"
    )
    with pytest.raises(ZeroDivisionError):
        type_("table run.zarr --traceback")


def test_ctrl_c_is_quiet(type_, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(hr.Recording, "to_frame", interrupt)
    assert type_("table run.zarr") == (130, "", "")


def test_a_run_that_goes_on_can_be_looked_at(type_, tiny, line, folder):
    seen = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(type_("show going.zarr"))

    # With resume=True each epoch's end is on the disk.
    store = folder / "going.zarr"
    recorder = hr.GradientRecorder(record_freq=1, store=store, resume=True)
    tiny.fit(*line, epochs=2, verbose=0, callbacks=[recorder, Look()])
    assert [status for status, *_ in seen] == [0, 0]
    assert "INCOMPLETE: fit has not finished" in seen[1][1]
    assert "The run is still going" in seen[1][1]
    assert "The run is still going" not in type_("show going.zarr")[1]


def test_version_is_the_package_s(type_):
    assert type_("--version") == (0, f"hrcallbacks {hr.__version__}\n", "")


def test_the_readme_s_commands_run(type_, folder):
    readme = Path(__file__).parents[2].joinpath("README.md").read_text("utf-8")
    commands = re.findall(r"^hrcallbacks (.+)$", readme, re.M)
    assert len(commands) == 3
    assert [type_(command)[0] for command in commands] == [0, 0, 0]
    assert (folder / "table.tex").read_text("utf-8").startswith("\\documentclass")


def python(script, folder, **options):
    return subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_no_command_needs_keras_and_help_needs_not_even_pandas(folder):
    script = """
import sys
sys.modules["keras"] = None
from hrcallbacks.cli.parser import main
try:
    main(["table", "--help"])
except SystemExit:
    pass
assert "numpy" not in sys.modules and "pandas" not in sys.modules
assert main(["show", "run.zarr"]) == 0
assert main(["table", "run.zarr", "--format", "latex"]) == 0
assert main(["plot", "run.zarr", "--what", "loss", "-o", "laptop.png"]) == 0
assert not {"tensorflow", "jax", "torch"} & set(sys.modules)
"""
    result = python(script, folder)
    assert result.returncode == 0, result.stderr
    assert (folder / "laptop.png").is_file()


@pytest.mark.parametrize("command", ["table run.zarr", "--help"])
def test_a_reader_that_goes_away_is_no_error(folder, command):
    process = subprocess.Popen(
        [sys.executable, "-m", "hrcallbacks", *command.split()],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # Before it has written anything.
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 141


def test_convert_writes_a_new_store(type_, folder, recording):
    status, out, err = type_("convert run.zarr converted.zarr")
    assert (status, out, err) == (0, "Wrote converted.zarr (10 records)\n", "")
    converted = hr.open_recording(folder / "converted.zarr")
    pd.testing.assert_frame_equal(converted.to_frame(), recording.to_frame())
    status, out, err = type_("convert run.zarr converted.zarr")
    assert (status, out) == (2, "")
    assert "already exists at 'converted.zarr'" in err
    status, _, err = type_("convert nowhere.zarr other.zarr")
    assert status == 2
    assert "no recording at 'nowhere.zarr'" in err
    assert not (folder / "other.zarr").exists()
