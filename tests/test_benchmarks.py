"""The benchmarks import: what they take from the package and from one another is there."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def test_all_of_them_import():
    names = sorted(script.stem for script in FOLDER.glob("*.py"))
    assert "fid" in names
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import {', '.join(names)}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
