"""What an operator relies on: probes, metrics, credentials, limits, cancelling, the page, stopping."""
import base64
import http.client
import json
import re
import signal
import subprocess
import threading
import time

import pytest
from server_process import default_binary


def test_probes_metrics_version_and_page(server):
    server.ingest("app", [{"message": "<script>alert(1)</script>"}], "?commit=force")
    server.query("SELECT * FROM logs.app")
    for path in ("/healthz", "/readyz", "/livez", "/api/v1/version"):
        status, _, body = server.request("GET", path)
        assert status == 200 and json.loads(body)
    metrics = server.request("GET", "/metrics")[2].decode()
    for name in ("http_requests_total", "http_request_duration_seconds", "ingest_rows_total", "ingest_bytes_total",
                 "wal_fsync_duration_seconds", "wal_bytes", "ingester_flush_duration_seconds", "query_duration_seconds",
                 "ingester_buffer_reserved_bytes", "object_store_operations_total", "query_scanned_bytes_total",
                 "process_cpu_seconds_total", "process_resident_memory_bytes", "wal_append_lock_wait_seconds",
                 "wal_append_inflight", "ingester_rotations_total", "ingester_flush_inflight",
                 "ingester_flush_errors_total", "wal_fsync_errors_total"):
        assert re.search(rf"^{name}", metrics, re.M), name
    status, headers, page = server.request("GET", "/")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert b"app" in page and b"<script>" not in page
    assert "default-src 'none'" in headers["Content-Security-Policy"]


def test_openapi_lists_every_route_and_each_answers(server):
    document = json.loads(server.request("GET", "/api/v1/openapi.json")[2])
    assert document["openapi"].startswith("3.1")
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert operation["x-permission"] in ("public", "ingest", "query", "admin")
            status, _, _ = server.request(method.upper(), path.replace("{", "").replace("}", ""), b"")
            assert status not in (405, 500, 501), (method, path, status)


def start_with_token(start):
    server = start("--set", "auth.mode=token")
    token = re.search(r"ms_\S+", server.log_path.read_text())[0]
    return server, token


def test_credentials(start):
    server, admin = start_with_token(start)

    def ask(method, path, body=None, token=None, **headers):
        if token:
            headers["Authorization"] = f"Bearer {token}"
        status, _, answer = server.request(method, path, body, headers)
        return status, json.loads(answer)

    row, query = '{"a":1}', '{"statement":"SELECT count(*) FROM logs.app"}'
    assert ask("POST", "/api/v1/ingest/logs/app", row)[0] == 401
    assert ask("POST", "/api/v1/ingest/logs/app", row, admin[:-2] + "zz")[0] == 401
    assert ask("GET", "/healthz")[0] == 200
    status, made = ask("POST", "/api/v1/tokens", '{"name":"agent","permissions":["ingest"]}', admin)
    assert status == 201 and made["token"].startswith("ms_")
    agent = made["token"]
    assert ask("POST", "/api/v1/ingest/logs/app", row, agent)[0] == 200
    assert ask("POST", "/api/v1/query", query, agent)[0] == 403
    assert ask("GET", "/api/v1/tokens", None, agent)[0] == 403
    assert ask("POST", "/api/v1/query", query, admin)[1]["rows"] == [[1]]
    for spoof in ("other", "../default", "default,other", "*", ""):
        assert ask("POST", "/api/v1/query", query, admin, **{"X-Org-Id": spoof})[0] == 403, spoof
        assert ask("POST", "/api/v1/query", query, admin, **{"X-Scope-OrgID": spoof})[0] == 403, spoof
    assert ask("POST", "/api/v1/query", query, admin, **{"X-Org-Id": "default"})[0] == 200
    basic = base64.b64encode(f"agent:{agent}".encode()).decode()
    assert ask("POST", "/api/v1/ingest/logs/app", row, **{"Authorization": f"Basic {basic}"})[0] == 200
    listed = ask("GET", "/api/v1/tokens", None, admin)[1]["tokens"]
    assert all("token" not in entry for entry in listed) and agent.split("_")[2] not in json.dumps(listed)
    assert ask("DELETE", f"/api/v1/tokens/{made['id']}", None, admin)[0] == 200
    assert ask("POST", "/api/v1/ingest/logs/app", row, agent)[0] == 401


def refusal(directory, *arguments):
    """What a server that must not start says."""
    done = subprocess.run([default_binary(), "standalone", "--data-dir", str(directory), "--grpc-listen", "127.0.0.1:0",
                           "--otlp-grpc-listen", "127.0.0.1:0", "--otlp-http-listen", "127.0.0.1:0", *arguments],
                          capture_output=True, text=True, timeout=30)
    assert done.returncode != 0 and not done.stdout
    return done.stderr


def test_an_open_address_without_credentials_is_refused(tmp_path):
    assert "auth.mode" in refusal(tmp_path / "data", "--http-listen", "0.0.0.0:0")


def test_a_second_server_on_the_same_directory_is_refused(server):
    assert "in use" in refusal(server.data_dir, "--http-listen", "127.0.0.1:0")


SLOW = "SELECT count(*) FROM logs.app a, logs.app b, logs.app c, logs.app d WHERE a.n + b.n + c.n + d.n = -1"


def test_cancel_timeout_and_disconnect(server):
    server.ingest("app", [{"n": n} for n in range(1000)])
    begin = time.monotonic()
    status, _, body = server.request("POST", "/api/v1/query", {"statement": SLOW, "timeout_ms": 300})
    assert status == 504 and json.loads(body)["error"] == "timeout" and time.monotonic() - begin < 20
    answers = []
    thread = threading.Thread(target=lambda: answers.append(
        server.request("POST", "/api/v1/query", {"statement": SLOW, "query_id": "mine"})))
    thread.start()
    for _ in range(500):
        running = json.loads(server.request("GET", "/api/v1/query/running")[2])["queries"]
        if running:
            break
        time.sleep(0.01)
    assert [query["id"] for query in running] == ["mine"]
    assert server.request("POST", "/api/v1/query/mine/cancel")[0] == 200
    thread.join(20)
    assert answers and answers[0][0] == 499
    assert server.request("POST", "/api/v1/query/mine/cancel")[0] == 404
    connection = server.connection()
    connection.request("POST", "/api/v1/query", json.dumps({"statement": SLOW}))
    time.sleep(0.3)
    connection.close()
    for _ in range(1000):
        if not json.loads(server.request("GET", "/api/v1/query/running")[2])["queries"]:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("a query runs on after its client has gone")


def test_rows_max_cuts_and_says_so(start):
    server = start("--set", "query.rows_max=10")
    server.ingest("app", [{"n": n} for n in range(50)])
    answer = server.query("SELECT n FROM logs.app")
    assert len(answer["rows"]) == 10 and answer["partial"] and "query.rows_max" in answer["warnings"][0]
    answer = server.query("SELECT n FROM logs.app", limit=5)
    assert len(answer["rows"]) == 5 and not answer["partial"]


@pytest.mark.parametrize("accept", ["application/x-ndjson", "text/csv", "application/vnd.apache.arrow.stream"])
def test_an_answer_that_cannot_say_that_it_was_cut_is_an_error(start, accept):
    server = start("--set", "query.rows_max=20000")
    for first in range(0, 25000, 5000):
        server.ingest("app", [{"n": n, "message": "x" * 50} for n in range(first, first + 5000)])

    def ask(**members):
        return server.request("POST", "/api/v1/query", members, {"Accept": accept})

    # Found out while the answer is on its way: it breaks off.
    with pytest.raises(http.client.IncompleteRead):
        ask(statement="SELECT * FROM logs.app")
    assert "query.rows_max" in server.log_path.read_text()
    assert ask(statement="SELECT * FROM logs.app", limit=20000)[0] == 200
    assert ask(statement="SELECT * FROM logs.app WHERE n < 20000")[0] == 200
    server.terminate()
    # Found out before anything was sent.
    server = start("--set", "query.rows_max=10")
    status, _, body = ask(statement="SELECT n FROM logs.app")
    assert status == 422 and b"query.rows_max" in body and b"'limit'" in body, body
    assert ask(statement="SELECT n FROM logs.app", limit=10)[0] == 200


def test_a_second_signal_ends_at_once_and_loses_nothing(start):
    server = start()
    server.ingest("app", [{"n": 1}])
    server.process.send_signal(signal.SIGTERM)
    server.process.send_signal(signal.SIGTERM)
    server.process.wait(20)
    assert start().query("SELECT n FROM logs.app")["rows"] == [[1]]


def test_an_empty_start_is_quick_and_small(start):
    begin = time.monotonic()
    server = start()
    took = time.monotonic() - begin
    rss = next(int(line.split()[1]) / 1024 for line in open(f"/proc/{server.process.pid}/status") if line.startswith("VmRSS"))
    print(f"start {took:.2f} s, {rss:.0f} MB")
    assert rss <= 100
