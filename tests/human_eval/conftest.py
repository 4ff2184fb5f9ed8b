"""Small studies of the shapes world."""

import pytest
from making_studies import make_run

from drawbench.human_eval.creation import create
from drawbench.human_eval.designs import find_design


@pytest.fixture(scope="session")
def runs(tmp_path_factory):
    """Three systems: the truth, half wrong, all wrong."""
    folder = tmp_path_factory.mktemp("runs")
    return [make_run(folder / name, name, rate) for name, rate in (("right", 0.0), ("half", 0.5), ("wrong", 1.0))]


@pytest.fixture
def make_study(tmp_path, runs):
    """Makes a study of some of the runs."""

    def make(design="drawbench", systems=2, **options):
        given = find_design(design) if isinstance(design, str) else design
        return create(tmp_path / f"study-{len(list(tmp_path.iterdir()))}", runs[:systems], given, **options)

    return make
