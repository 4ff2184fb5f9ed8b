"""What every test shares: a cache of its own, the data that is not in the repository, and a check of the checkout."""

import os
import tempfile
from pathlib import Path

import pytest

# Before any import of a hub's client, which reads them once: no test speaks with a hub or finds what it brought earlier.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HOME"] = tempfile.mkdtemp(prefix="drawbench-no-hub-")
os.environ["DRAWBENCH_CACHE"] = tempfile.mkdtemp(prefix="drawbench-cache-")  # For fixtures that outlive a test.

if "PYTEST_XDIST_WORKER" in os.environ:  # Before torch: workers that each use all cores wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared" / "data"

for _name in ("generators", "metrics", "human_eval", "reports"):
    if not (ROOT / "drawbench" / _name).is_dir():
        pytest.exit(
            f"drawbench/{_name} is a link that was checked out as a text file; mend it with: "
            "git config core.symlinks true && git checkout -- drawbench",
            returncode=4,
        )


def pytest_addoption(parser):
    parser.addoption("--run-long", action="store_true", help="also run the tests marked long")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--run-long"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="long: run by make test-long"))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """A cache folder of the test's own."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("DRAWBENCH_CACHE", str(folder))
    return folder


@pytest.fixture(scope="session")
def shared():
    """The folder of real data beside the checkout."""
    if not SHARED.is_dir():
        pytest.skip(f"real data is not here ({os.path.relpath(SHARED, ROOT)})")
    return SHARED


@pytest.fixture(scope="session")
def drawbench_csv(shared):
    return shared / "drawbench" / "drawbench.csv"
