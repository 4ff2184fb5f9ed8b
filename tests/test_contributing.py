"""The examples of CONTRIBUTING.md, run as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_generator_and_the_metric_in_20_lines_work_as_printed(tmp_path):
    text = (ROOT / "CONTRIBUTING.md").read_text()
    programs = dict(
        zip(
            re.findall(r"Save this as `(\w+\.py)`", text),
            re.findall(r"```python\n(.*?)```", text, re.DOTALL),
            strict=True,
        )
    )
    commands = re.findall(r"```sh\n(.*?)\n```", text, re.DOTALL)
    assert list(programs) == ["gradient.py", "contrast.py"]
    assert len(commands) == 2
    for name, program in programs.items():
        lines = [line for line in program.splitlines() if line.strip() and not line.startswith(("import", "from"))]
        assert len(lines) <= 20, name
        (tmp_path / name).write_text(program)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "drawbench"
        done = subprocess.run(
            [sys.executable, "-m", "drawbench", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env=dict(os.environ),
        )
        assert done.returncode == 0, done.stderr
    assert "contrast contrast" in done.stdout
