"""A server with a small run, for all tests of the explorer."""

import pytest
from browsers import complaints_of, running_browser, until
from datasets import write_recordings
from explorer_client import Client
from explorer_page import EXPLORER

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


@pytest.fixture(scope="module")
def browser():
    with running_browser(
        "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"
    ) as browser:
        yield browser


@pytest.fixture
def open_page(browser, server):
    """Open the page in a tab of its own; at the end it must have no complaint."""
    contexts, complaints = [], []

    def open_tab(width=1400, height=1000, context=None, **options):
        context = context or browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True, **options
        )
        contexts.append(context)
        page = context.new_page()
        complaints.append(complaints_of(page, f"http://127.0.0.1:{server.port}/"))
        page.goto(server.url)
        until(page, "document.body.classList.contains('ready')", 60)
        until(page, f"{EXPLORER}.map.map !== null && {EXPLORER}.map.trail.length > 0", 60)
        return page

    open_tab.allowed = []
    yield open_tab
    for context in dict.fromkeys(contexts):
        context.close()
    found = [text for each in complaints for text in each]
    assert [text for text in found if not any(part in text for part in open_tab.allowed)] == []
