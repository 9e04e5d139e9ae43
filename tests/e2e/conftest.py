import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from server_process import ServerProcess  # noqa: E402


@pytest.fixture
def start(tmp_path):
    """Starts servers that are ended with the test: start(*arguments, data=NAME, environment={})."""
    running = []

    def run(*arguments, data="data", environment=None):
        server = ServerProcess(tmp_path / data, arguments, environment=environment)
        running.append(server)
        assert server.wait_ready(60), f"the server ended at start:\n{server.tail()}"
        return server

    yield run
    for server in running:
        if server.process.poll() is None:
            server.kill()


@pytest.fixture
def server(start):
    return start()


@pytest.fixture(scope="session")
def repository():
    return pathlib.Path(__file__).resolve().parents[2]


def pytest_report_header(config):
    return f"server under test: {os.environ.get('MS_BINARY', 'build/release/molesignal')}"
