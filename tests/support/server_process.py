"""Starts, stops and kills a real molesignal process for tests. Standard library only."""
import http.client
import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time


def default_binary():
    """The server under test: $MS_BINARY, else the release build."""
    root = pathlib.Path(__file__).resolve().parents[2]
    return os.environ.get("MS_BINARY", str(root / "build/release/molesignal"))


class ServerProcess:
    """One run of the server on a data directory. `addresses` is the ready file's content.

    `prefix` is a command that runs the server's (private_mount, memory_cgroup); `run_dir` gets the ready file and the
    log, by default the data directory. `http_port`: to ask it before it is ready.
    """

    def __init__(self, data_dir, arguments=(), binary=None, environment=None, prefix=(), run_dir=None, http_port=0):
        self.data_dir = pathlib.Path(data_dir)
        run_dir = pathlib.Path(run_dir or data_dir)
        run_dir.mkdir(parents=True, exist_ok=True)
        self.ready_file = run_dir / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        self.log_path = run_dir / "server.log"
        self.log = open(self.log_path, "ab")
        command = [*prefix, binary or default_binary(), "standalone", "--data-dir", str(self.data_dir),
                   "--http-listen", f"127.0.0.1:{http_port}", "--grpc-listen", "127.0.0.1:0",
                   "--otlp-grpc-listen", "127.0.0.1:0", "--otlp-http-listen", "127.0.0.1:0",
                   "--ready-file", str(self.ready_file), *arguments]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log,
                                        env={**os.environ, **(environment or {})})
        self.addresses = None

    def wait_ready(self, seconds=60):
        """True when ready, False if the process ended first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if self.ready_file.exists():
                self.addresses = json.loads(self.ready_file.read_text())
                return True
            if self.process.poll() is not None:
                return False
            time.sleep(0.01)
        raise TimeoutError(f"not ready after {seconds} s; log:\n{self.tail()}")

    def connection(self, timeout=30):
        host, port = self.addresses["http"].rsplit(":", 1)
        return http.client.HTTPConnection(host, int(port), timeout=timeout)

    def request(self, method, path, body=None, headers=None, timeout=60):
        connection = self.connection(timeout)
        try:
            if isinstance(body, (dict, list)):
                body = json.dumps(body)
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()
        finally:
            connection.close()

    def query(self, statement, **extra):
        status, _, body = self.request("POST", "/api/v1/query",
                                       {"language": "sql", "statement": statement, **extra})
        if status != 200:
            raise AssertionError(f"query answered {status}: {body.decode(errors='replace')}")
        return json.loads(body)

    def ingest(self, stream, rows, query=""):
        body = "\n".join(json.dumps(row) for row in rows)
        status, _, answer = self.request("POST", f"/api/v1/ingest/logs/{stream}{query}", body)
        if status != 200:
            raise AssertionError(f"ingest answered {status}: {answer.decode(errors='replace')}")
        return json.loads(answer)

    def flush(self, stream, seconds=60):
        """Waits until the stream has no hot rows; the server must flush by itself or by a forced row."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            streams = json.loads(self.request("GET", "/api/v1/streams")[2])["streams"]
            if not any(entry["name"] == stream and entry["hot_rows"] for entry in streams):
                return
            self.request("POST", "/api/v1/flush")
            time.sleep(0.02)
        raise TimeoutError(f"{stream} still has hot rows after {seconds} s")

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def terminate(self, seconds=30):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=seconds)
        self.log.close()
        return code

    def tail(self, lines=40):
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])


def scratch_directory(prefix):
    return tempfile.TemporaryDirectory(prefix=f"molesignal-{prefix}-")
