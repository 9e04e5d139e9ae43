"""pytest fixtures that start servers; imported by the conftest.py of each folder that needs them."""
import os
import pathlib

import pytest

from server_process import ServerProcess


@pytest.fixture
def start(tmp_path):
    """Starts servers that are ended with the test: start(*arguments, data=NAME, …); more goes to ServerProcess."""
    running = []

    def run(*arguments, data="data", **more):
        server = ServerProcess(tmp_path / data, arguments, **more)
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
