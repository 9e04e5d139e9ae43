"""Nobody can take from others what they need: threads, query slots, connections, memory."""
import concurrent.futures
import http.client
import json
import socket
import time

import pytest
import requests

ROWS = [{"n": n, "message": f"row {n} " + "x" * 80} for n in range(1500)]
# A million rows, far more than socket buffers hold.
LARGE = "SELECT a.n, b.message FROM logs.app a, logs.app b"


def head(server, method, path, *lines):
    address = server.addresses["http"]
    text = "\r\n".join([f"{method} {path} HTTP/1.1", f"Host: {address}", *lines, "", ""])
    host, port = address.rsplit(":", 1)
    connection = socket.create_connection((host, int(port)), timeout=30)
    connection.sendall(text.encode())
    return connection


def post(server, path, body, *lines):
    body = json.dumps(body)
    connection = head(server, "POST", path, f"Content-Length: {len(body)}", *lines)
    connection.sendall(body.encode())
    return connection


def metric(server, line):
    text = server.request("GET", "/metrics")[2].decode()
    return sum(float(found.rsplit(" ", 1)[1]) for found in text.splitlines() if found.startswith(line))


def eventually(condition):
    """Asks until it is so."""
    give_up = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < give_up


def test_who_waits_for_a_flush_takes_no_thread_of_others(start):
    server = start("--set", "http.handler_threads_max=4", "--set", "ingester.flush_interval_secs=3600")
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        waiting = [pool.submit(server.ingest, "app", [{"n": n}], "?commit=wait_for") for n in range(8)]
        eventually(lambda: metric(server, 'http_lane_waiting{lane="requests that wait for a flush"}') == 7)
        for path in ("/livez", "/readyz", "/healthz", "/metrics", "/api/v1/streams", "/"):
            assert server.request("GET", path)[0] == 200, path
        assert server.ingest("other", [{"n": 1}])["accepted"] == 1
        assert server.query("SELECT count(*) FROM logs.other")["rows"] == [[1]]
        while not all(answer.done() for answer in waiting):
            server.request("POST", "/api/v1/flush")
        assert all(answer.result()["accepted"] == 1 for answer in waiting)


def test_queries_wait_up_to_a_bound_and_slow_readers_are_cut(start):
    server = start("--set", "query.concurrency=1", "--set", "query.queue_requests_max=1",
                   "--set", "http.write_timeout_ms=1000")
    server.ingest("app", ROWS)
    slow = post(server, "/api/v1/query", {"statement": LARGE}, "Accept: application/x-ndjson")
    slow.recv(100)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(server.query, "SELECT 1 AS one")
        eventually(lambda: metric(server, 'http_lane_running{lane="queries"}') == 2)
        status, headers, body = server.request("POST", "/api/v1/query", {"statement": "SELECT 1"})
        assert status == 429 and headers["Retry-After"], body
        assert b"query.queue_requests_max" in body and b"query.concurrency" in body
        assert server.request("GET", "/api/v1/query/running")[0] == 200
        # The reader that does not read loses its slot, and the query that waited gets it.
        assert waiting.result()["rows"] == [[1]]
    slow.close()
    assert metric(server, 'requests_refused_total{limit="query.queue_requests_max",protocol="http"}') == 1
    eventually(lambda: metric(server, 'http_requests_total{route="/api/v1/query",status="incomplete"}') == 1)


def test_a_cancelled_query_leaves_its_connection_usable(start):
    server = start()
    server.ingest("app", ROWS)
    connection = server.connection()
    slow = {"statement": "SELECT count(*) FROM logs.app a, logs.app b, logs.app c WHERE a.message < b.message || c.message",
            "query_id": "slow"}
    connection.request("POST", "/api/v1/query", json.dumps(slow))
    eventually(lambda: server.request("POST", "/api/v1/query/slow/cancel")[0] == 200)
    answer = connection.getresponse()
    assert answer.status == 499, answer.read()
    answer.read()
    for _ in range(2):
        connection.request("POST", "/api/v1/query", json.dumps({"statement": "SELECT 1 AS one"}))
        answer = connection.getresponse()
        assert answer.status == 200 and json.loads(answer.read())["rows"] == [[1]]


def test_a_large_json_answer_is_streamed_whole(start):
    server = start()
    server.ingest("app", ROWS)
    connection = server.connection()
    connection.request("POST", "/api/v1/query", json.dumps({"statement": LARGE, "limit": 100_000}))
    answer = connection.getresponse()
    assert answer.status == 200 and answer.getheader("Transfer-Encoding") == "chunked"
    body = json.loads(answer.read())
    assert len(body["rows"]) == 100_000 and body["columns"] == ["n", "message"] and "took_ms" in body["stats"]


@pytest.mark.parametrize("accept", ["application/json", "application/x-ndjson"])
def test_an_answer_that_breaks_off_looks_so_and_is_counted(start, accept):
    server = start()
    server.ingest("app", ROWS)
    late = ("SELECT CAST(CASE WHEN a.n = 499 AND b.n = 1499 THEN 'x' ELSE '1' END AS BIGINT), a.message "
            "FROM logs.app a, logs.app b WHERE a.n < 500")
    connection = server.connection()
    connection.request("POST", "/api/v1/query", json.dumps({"statement": late}), {"Accept": accept})
    answer = connection.getresponse()
    assert answer.status == 200
    with pytest.raises(http.client.IncompleteRead):
        answer.read()
    eventually(lambda: metric(server, 'http_requests_total{route="/api/v1/query",status="incomplete"}') == 1)
    assert metric(server, 'http_broken_answers_total{route="/api/v1/query"}') == 1
    assert "an answer broke off" in server.log_path.read_text()


def test_a_refused_credential_costs_no_body(start):
    server = start("--set", "auth.mode=token")
    connection = head(server, "POST", "/api/v1/ingest/logs/app", "Content-Length: 30000000", "Expect: 100-continue")
    assert connection.makefile("rb").readline().split()[1] == b"401"
    connection.close()
    guesses = [requests.get(f"http://{server.addresses['http']}/api/v1/streams", timeout=20,
                            headers={"Authorization": f"Bearer ms_aaaa{a}{b}{c}a_{'a' * 52}"}).status_code
               for a in "abcdefgh" for b in "abcdefgh" for c in "abcd"]
    assert set(guesses) <= {401, 429}


def test_metrics_show_the_server(server):
    server.ingest("app", ROWS)
    text = server.request("GET", "/metrics")[2].decode()
    for name in ("http_connections_open", "http_connections_total", "http_requests_running", "http_request_body_bytes",
                 'http_lane_running{lane="queries"}', "http_connections_refused_total"):
        assert name in text, name


def test_the_access_log_is_a_setting(start):
    quiet = start(data="quiet")
    quiet.request("GET", "/livez")
    talking = start("--set", "telemetry.access_log=true", data="talking")
    talking.request("GET", "/livez", headers={"X-Request-Id": "find-me"})
    eventually(lambda: "path=/livez status=200" in talking.log_path.read_text())
    assert "request_id=find-me" in talking.log_path.read_text()
    assert "path=/livez" not in quiet.log_path.read_text()


def test_snappy_bodies(server):
    row = b'{"n":1,"message":"hello"}'
    block = bytes([len(row), (len(row) - 1) << 2]) + row
    status, _, body = server.request("POST", "/api/v1/ingest/logs/app", block, {"Content-Encoding": "snappy"})
    assert status == 200 and json.loads(body)["accepted"] == 1, body
    lie = b"\xff\xff\xff\xff\x0f" + block[1:]
    status, _, body = server.request("POST", "/api/v1/ingest/logs/app", lie, {"Content-Encoding": "snappy"})
    assert status == 413, body
    assert server.query("SELECT message FROM logs.app")["rows"] == [["hello"]]


def test_idle_connections_make_room(start):
    server = start("--set", "http.connections_max=3")
    host, port = server.addresses["http"].rsplit(":", 1)
    idle = [socket.create_connection((host, int(port)), timeout=30) for _ in range(10)]
    assert server.request("GET", "/livez")[0] == 200
    assert any(connection.recv(1) == b"" for connection in idle[:1])
    for connection in idle:
        connection.close()


def test_settings_of_a_stream_are_bounded(server):
    status, _, body = server.request("POST", "/api/v1/streams", {"name": "app"})
    path = f"/api/v1/streams/{json.loads(body)['id']}/settings"
    many = [f"f{n}" for n in range(1001)]
    for settings, expected in ((({"full_text_fields": many}), 413), ({"pinned_types": dict.fromkeys(many, "string")}, 413),
                               ({"full_text_fields": ["x" * 257]}, 400), ({"pinned_types": {"": "string"}}, 400),
                               ({"full_text_fields": many[:1000]}, 200)):
        status, _, body = server.request("PUT", path, settings)
        assert status == expected, body
        assert status == 200 or b"ingester.field" in body
