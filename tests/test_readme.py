import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()


def test_the_snippets_run_as_they_stand(tmp_path):
    snippets = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(snippets) == 6
    result = subprocess.run(
        [sys.executable, "-c", "".join(snippets)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "<Recording: 24 records of 2 variables" in result.stdout
    assert "(24, 1, 1)" in result.stdout
    assert "<Findings: " in result.stdout
    assert (tmp_path / "loss.png").is_file()
    assert [*(tmp_path / "logs" / "gradients" / "train").iterdir()]
    assert (tmp_path / "run.zarr" / "zarr.json").is_file()
