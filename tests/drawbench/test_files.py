import os
import subprocess
import sys

from drawbench.files import host, is_leftover, sha256_file, sweep, write_atomic


def test_a_file_is_whole_or_not_there(tmp_path):
    """A writer that fails in the middle leaves the old file as it was."""
    file = tmp_path / "deep" / "a.txt"
    write_atomic(file, b"old")

    def breaks():
        yield b"new"
        raise RuntimeError

    try:
        write_atomic(file, breaks())
    except RuntimeError:
        pass
    assert file.read_bytes() == b"old"
    write_atomic(file, [b"n", b"ew"])
    assert file.read_bytes() == b"new"
    assert sha256_file(file) == "11507a0e2f5e69d5dfa40a62a1bd7b6ee57e6bcd85c67c9b8431b36fff21c437"


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_are_not(tmp_path):
    child = subprocess.Popen([sys.executable, "-c", ""])
    child.wait()
    dead = tmp_path / f".0.png.{host()}-{child.pid}-0.tmp"
    parent = tmp_path / f".0.png.{host()}-{os.getppid()}-0.tmp"
    elsewhere = tmp_path / f".0.png.another-machine-{child.pid}-0.tmp"
    for file in (dead, parent, elsewhere, tmp_path / "0.png"):
        file.touch()
    assert is_leftover(dead.name)
    assert not is_leftover("0.png")
    assert sweep(tmp_path) == 1
    assert not dead.exists()
    assert parent.exists()
    assert elsewhere.exists()
