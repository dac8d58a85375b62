"""A server with a small run, for all tests of the explorer."""

import pytest
from datasets import write_recordings
from explorer_client import Client

from dafxtool.api.explore import serve


@pytest.fixture(scope="session")
def recordings(tmp_path_factory):
    return write_recordings(tmp_path_factory.mktemp("explorer"))


@pytest.fixture(scope="session")
def server(recordings, run_folder, pairs_file):
    """Serve the recordings of the data set, with a run that was trained on its pairs."""
    with serve(recordings, run=run_folder, device="cpu") as server:
        yield server


@pytest.fixture
def client(server):
    return Client(server)
