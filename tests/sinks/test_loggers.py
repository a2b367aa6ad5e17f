"""Loggers of others read the norms from Keras' logs: what their files hold.

Each runs the code of its section in docs/how-to/loggers.py, offline and in a process of
its own, and is skipped where the logger is not installed.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import pytest

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "loggers.py"

SETUP = """
import json
import keras
import numpy as np
import hrcallbacks as hr

keras.utils.set_random_seed(1)
layers = [keras.layers.Dense(4, name="hidden"), keras.layers.Dense(1, name="head")]
model = keras.Sequential([keras.Input((3,)), *layers], name="net")
model.compile("adam", loss="mse", jit_compile=False)
x = np.random.default_rng(0).normal(size=(64, 3))
y = x.sum(axis=1, keepdims=True)
recorder = hr.GradientRecorder(
    gradients="norm", weights=None, sinks=[hr.Logs(by="variable")]
)
"""

# What reads each logger's files back: `found`, numbers by epoch, by name.
READ = {
    # Blocks of 32 KiB of a log like LevelDB's: after a file's seven bytes, pieces of
    # records, each after its checksum, length and kind (1: whole, 4: the last piece).
    "wandb": """
from pathlib import Path
from wandb.proto import wandb_internal_pb2
(path,) = Path("wandb").glob("offline-run-*/*.wandb")
data, place, pieces, found = path.read_bytes(), 7, b"", {}
while place < len(data):
    if 32768 - place % 32768 < 7:
        place += 32768 - place % 32768
        continue
    length = int.from_bytes(data[place + 4 : place + 6], "little")
    kind = data[place + 6]
    pieces += data[place + 7 : place + 7 + length]
    place += 7 + length
    if kind in (1, 4):
        record, pieces = wandb_internal_pb2.Record.FromString(pieces), b""
        for item in record.history.item:
            name = "/".join(item.nested_key) or item.key
            if name.startswith("epoch/"):
                values = found.setdefault(name.removeprefix("epoch/"), [])
                values.append(json.loads(item.value_json))
""",
    "mlflow": """
import mlflow
client = mlflow.MlflowClient("sqlite:///mlflow.db")
(run,) = client.search_runs(["0"])
found = {}
for name in run.data.metrics:
    history = client.get_metric_history(run.info.run_id, name)
    found[name] = [m.value for m in sorted(history, key=lambda m: m.step)]
""",
    "trackio": """
import os, sqlite3
from pathlib import Path
(path,) = Path(os.environ["TRACKIO_DIR"]).glob("gradients*.db")
rows = sqlite3.connect(path).execute("SELECT metrics FROM metrics ORDER BY step")
rows = [json.loads(text) for (text,) in rows]
found = {name: [row[name] for row in rows] for name in rows[0]}
""",
}


DUMP = "\nprint('\\n' + json.dumps({}))"


def snippets(package):
    """The page's code for a logger: what logs norms, and what sends histograms."""
    text = re.sub("^# ?", "", PAGE.read_text(encoding="utf-8"), flags=re.M)
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.M | re.S)
    found = [
        block for block in blocks if re.search(rf"^import {package}\b", block, re.M)
    ]
    return (
        [b for b in found if "Tracker" not in b],
        [b for b in found if "Tracker" in b],
    )


def run(script, folder):
    """What a script prints last, which is JSON."""
    result = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ
        | {
            "HOME": str(folder),
            "KERAS_BACKEND": keras.config.backend(),
            "TRACKIO_DIR": str(folder / "trackio"),
            "HF_HUB_OFFLINE": "1",
            "WANDB_MODE": "offline",
            "AIM_UI_TELEMETRY_ENABLED": "0",
        },
    )
    assert result.returncode == 0, result.stderr
    line = next(s for s in result.stdout.splitlines() if s.startswith('{"'))
    return json.loads(line)


@pytest.mark.parametrize("package", READ)
def test_the_logger_s_files_have_what_keras_logs_have(package, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    (norms,), _ = snippets(package)
    history = run(f"{SETUP}\n{norms}{DUMP.format('history.history')}", tmp_path)
    # By another process: once the first has ended, all is written.
    found = run(f"import json\n{READ[package]}{DUMP.format('found')}", tmp_path)
    paths = [
        f"net/{layer}/{v}" for layer in ("hidden", "head") for v in ("kernel", "bias")
    ]
    names = ["gradient_norm", *(f"gradient_norm/{path}" for path in paths)]
    assert {*names} <= {*history}
    for name in names:
        assert len(history[name]) == 3
        assert found[name] == pytest.approx(history[name], rel=1e-6)


# What was recorded, as `found` has it.
RECORDED = """
recording = recorder.recording
norms = recording.statistic("gradients", "norm")
made = {f"norm/{path}": norms[path].tolist() for path in norms}
for reduction in recording.reductions_of("gradients"):
    for path, rows in recording.arrays("gradients", reduction).items():
        rows = np.asarray(rows)
        if reduction == "histogram":
            made[f"{reduction}/{path}"] = rows[:, :-2].sum(axis=1).tolist()
        elif reduction == "raw":
            made[f"{reduction}/{path}"] = [row.size for row in rows]
"""


@pytest.mark.parametrize("package", ["wandb", "trackio"])
def test_the_logger_s_files_have_what_was_recorded(package, tmp_path):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed")
    _, (histograms,) = snippets(package)
    recorded = run(f"{SETUP}\n{histograms}{RECORDED}{DUMP.format('made')}", tmp_path)
    read = READ[package].replace('"epoch/"', '"gradients/"')
    found = run(f"import json\n{read}{DUMP.format('found')}", tmp_path)
    found = {name.removeprefix("gradients/"): values for name, values in found.items()}
    assert found["recorded_step"] == [*range(1, 7)] if package == "trackio" else True
    kinds = {"wandb": "histogram", "trackio": "raw"}
    for path in ("net/hidden/kernel", "net/hidden/bias", "net/head/kernel"):
        name = f"{kinds[package]}/{path}"
        if package == "wandb":
            sizes = [sum(values) for values in found[f"{name}/values"]]
        else:
            sizes = [sum(made["values"]) for made in found[name]]
        assert sizes == recorded[name]
        assert len(sizes) == 6
        if package == "wandb":
            assert found[f"norm/{path}"] == pytest.approx(recorded[f"norm/{path}"])


def test_the_page_has_each_logger():
    assert [len(found) for p in READ for found in snippets(p)] == [1, 1, 1, 0, 1, 1]
