"""Signals at any time, what a run leaves behind, and failpoints that are armed while the server runs."""
import json
import signal
import subprocess
import threading
import time

from server_process import ServerProcess, default_binary


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def test_a_signal_during_the_start_ends_it(start):
    server = start()
    for number in range(200):
        server.ingest("app", [{"n": number}])
    server.kill()
    # The replay takes a minute this way.
    slow = ServerProcess(server.data_dir, ["--failpoints", "replay_after_batch=delay(300)@1+"])
    before = slow.log_path.read_text().count("starting")
    wait_for(lambda: slow.log_path.read_text().count("starting") > before or "starting" in slow.tail(3))
    assert slow.terminate(20) == 0
    assert not slow.ready_file.exists()
    again = start()
    assert again.query("SELECT count(*) AS c FROM logs.app")["rows"] == [[200]]


def test_the_ready_file_of_an_earlier_run_goes(tmp_path, start):
    ready = tmp_path / "ready.json"
    ready.write_text('{"http": "127.0.0.1:1"}')
    command = [default_binary(), "standalone", "--data-dir", str(tmp_path / "data"), "--ready-file", str(ready),
               "--http-listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0", "--otlp-grpc-listen", "127.0.0.1:0",
               "--otlp-http-listen", "127.0.0.1:0", "--failpoints", "start_migrated=error"]
    assert subprocess.run(command, capture_output=True, check=False, timeout=60).returncode != 0
    assert not ready.exists(), "nobody listens there"
    server = start()
    assert server.terminate() == 0
    assert not server.ready_file.exists()


def test_who_waits_for_a_flush_does_not_hold_up_the_stop(start):
    server = start("--set", "node.drain_timeout_secs=1", "--failpoints", "flush_begin=error@1+")
    answers = []
    waiting = threading.Thread(target=lambda: answers.append(server.ingest("app", [{"n": 1}], "?commit=force")))
    waiting.start()
    wait_for(lambda: server.query("SELECT count(*) AS c FROM logs.app")["rows"] == [[1]]
             if '"app"' in server.request("GET", "/api/v1/streams")[2].decode() else False)
    assert server.terminate(20) == 0
    waiting.join(20)
    assert answers == [{"accepted": 1, "rejected": 0, "errors": [], "flushed": False}]
    assert start().query("SELECT count(*) AS c FROM logs.app")["rows"] == [[1]]


def test_killed_servers_leave_one_probe_object_at_most(start):
    for _ in range(3):
        server = start("--set", "store.object.health_probe_interval_secs=1")
        server.kill()
    assert len(list((server.data_dir / "objects" / "_probe").glob("*"))) <= 1


def arm(server, path, spec):
    answer = path.with_name(path.name + ".armed")
    answer.unlink(missing_ok=True)
    path.write_text(spec)
    wait_for(answer.exists)
    assert answer.read_text() == spec


def test_failpoints_are_armed_while_the_server_runs(tmp_path, start):
    path = tmp_path / "failpoints"
    server = start("--failpoints-file", str(path))
    server.ingest("app", [{"n": 1}])
    arm(server, path, "ingest_before_append=error(resource_exhausted)@1+")
    assert server.request("POST", "/api/v1/ingest/logs/app", json.dumps({"n": 2}))[0] == 429
    arm(server, path, "")
    server.ingest("app", [{"n": 3}])
    assert server.query("SELECT n FROM logs.app ORDER BY n")["rows"] == [[1], [3]]
    arm(server, path, "wal_before_append=kill")
    server.process.send_signal(0)
    try:
        server.request("POST", "/api/v1/ingest/logs/app", json.dumps({"n": 4}))
    except OSError:
        pass
    assert server.process.wait(30) == -signal.SIGKILL
