"""OTLP over gRPC against hostile and unlucky clients: memory, credentials, bounds, what errors say."""
import concurrent.futures
import pathlib
import re
import threading
import time

import grpc
import pytest
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2

EXPORT = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
MIB = 1 << 20


def request_of(*bodies):
    message = logs_service_pb2.ExportLogsServiceRequest()
    records = message.resource_logs.add().scope_logs.add().log_records
    for body in bodies:
        record = records.add()
        record.time_unix_nano = time.time_ns()
        record.body.string_value = body
    return message.SerializeToString()


def call(server, message, method=EXPORT, address="otlp_grpc", compression=None, metadata=(), timeout=60):
    options = [("grpc.max_send_message_length", -1)]
    with grpc.insecure_channel(server.addresses[address], options=options) as channel:
        stub = channel.unary_unary(method)
        try:
            _, answered = stub.with_call(message, timeout=timeout, compression=compression, metadata=metadata)
            return answered
        except grpc.RpcError as error:
            return error


def peak_mib(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def metric(server, line):
    text = server.request("GET", "/metrics")[2].decode()
    return sum(float(found.rsplit(" ", 1)[1]) for found in text.splitlines() if found.startswith(line))


@pytest.mark.parametrize("compression", [grpc.Compression.NoCompression, grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_every_compression_stores_rows(server, compression):
    answered = call(server, request_of("x" * 10_000, "second"), compression=compression)
    assert answered.code() == grpc.StatusCode.OK
    assert server.query('SELECT length(body) FROM logs."default" ORDER BY 1')["rows"] == [[6], [10_000]]
    assert metric(server, 'grpc_requests_total{code="OK",method="logs_export"}') == 1
    assert metric(server, 'grpc_request_duration_seconds_count{method="logs_export"}') == 1


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_bomb_takes_no_memory(start, compression):
    server = start("--set", "http.body_bytes_max=8MiB")
    before = peak_mib(server)
    refused = call(server, bytes(512 * MIB), compression=compression)
    assert refused.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "8388608 bytes (http.body_bytes_max)" in refused.details()
    assert peak_mib(server) < before + 64
    assert metric(server, 'requests_refused_total{limit="http.body_bytes_max",protocol="grpc"}') == 1


def test_a_message_above_the_limit_is_refused(start):
    server = start("--set", "http.body_bytes_max=1MiB", "--set", "ingester.row_bytes_max=1MiB")
    refused = call(server, request_of("x" * MIB))
    assert refused.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "larger than max" in refused.details()
    assert call(server, request_of("x" * (MIB - 1000))).code() == grpc.StatusCode.OK


def test_a_refused_credential_reads_no_message(start):
    server = start("--set", "auth.mode=token")
    before = peak_mib(server)
    message = request_of(*["x" * MIB] * 24)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: call(server, message, metadata=[("x-request-id", "mine")]), range(24)))
    assert {answer.code() for answer in answers} == {grpc.StatusCode.UNAUTHENTICATED}
    assert ("x-request-id", "mine") in [tuple(entry) for entry in answers[0].trailing_metadata()]
    assert peak_mib(server) < before + 64
    token = re.search(r"ms_\S+", server.log_path.read_text())[0].strip("\"'")
    good = [("authorization", f"Bearer {token}")]
    assert call(server, request_of("good"), metadata=good).code() == grpc.StatusCode.OK
    spoofed = call(server, request_of("bad"), metadata=[*good, ("x-org-id", "other")])
    assert spoofed.code() == grpc.StatusCode.PERMISSION_DENIED


def test_many_large_messages_at_once_are_stored_or_worth_a_retry(start):
    server = start("--set", "http.inflight_body_bytes_max=32MiB", "--set", "http.body_bytes_max=16MiB")
    message = request_of(*["x" * MIB] * 12)
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: call(server, message), range(24)))
    codes = [answer.code() for answer in answers]
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE}, codes
    for answer in answers:
        if answer.code() == grpc.StatusCode.UNAVAILABLE:
            details = dict(answer.trailing_metadata())["grpc-status-details-bin"]
            assert b"google.rpc.RetryInfo" in details and "Received RST" not in answer.details()
    stored = 12 * codes.count(grpc.StatusCode.OK)
    assert stored > 0 and server.query('SELECT count(*) FROM logs."default"')["rows"] == [[stored]]


def test_what_errors_say(server):
    unknown = call(server, b"", method="/opentelemetry.proto.collector.trace.v1.TraceService/Export")
    assert unknown.code() == grpc.StatusCode.UNIMPLEMENTED and "TraceService" in unknown.details()
    broken = call(server, b"\xff\xff\xff")
    assert broken.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert len(dict(broken.trailing_metadata())["x-request-id"]) == 26
    cut = call(server, b"\xff\xff", metadata=[("stream-name", "a/b")])
    assert cut.code() == grpc.StatusCode.INVALID_ARGUMENT and "stream name" in cut.details()


def test_the_health_service_answers_beside_it(server):
    for address in ("otlp_grpc", "grpc"):
        with grpc.insecure_channel(server.addresses[address]) as channel:
            answer = channel.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=20)
            assert answer == b"\x08\x01", "SERVING"


def silence(until):
    """A stream of messages that has none until then."""
    until.wait(60)
    yield from ()


def test_a_client_that_goes_leaves_nothing_behind(server):
    gone = threading.Event()
    with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
        pending = channel.stream_unary(EXPORT).future(silence(gone))
        pending.cancel()
        gone.set()
    assert call(server, request_of("after")).code() == grpc.StatusCode.OK
    assert server.query('SELECT body FROM logs."default"')["rows"] == [["after"]]
    assert server.terminate() == 0


def test_a_message_that_does_not_come_is_given_up(start):
    server = start("--set", "http.body_idle_timeout_ms=100")
    given_up = threading.Event()
    with grpc.insecure_channel(server.addresses["otlp_grpc"]) as channel:
        pending = channel.stream_unary(EXPORT).future(silence(given_up))
        assert pending.exception(timeout=60).code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert "100 ms (http.body_idle_timeout_ms)" in pending.details()
        given_up.set()
    assert server.terminate() == 0
