import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from server_fixtures import repository, server, start  # noqa: E402, F401


def pytest_report_header(config):
    return f"server under test: {os.environ.get('MS_BINARY', 'build/release/molesignal')}"
