"""What the tests of several metrics share: an Inception that is not ours, and real images."""

import pytest
from inception_peer import make_peer


@pytest.fixture(scope="session")
def photographs(shared):
    return sorted((shared / "natural").glob("*.JPEG"))


@pytest.fixture(scope="session")
def drawn(shared):
    return sorted((shared / "drawbench" / "images" / "stable-diffusion-v1-5").glob("*.jpg"))


@pytest.fixture(scope="session")
def peer(photographs, drawn, tmp_path_factory):
    return make_peer(tmp_path_factory.mktemp("peer") / "inception.pth", [*photographs[20:28], *drawn[20:28]])
