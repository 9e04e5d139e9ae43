"""The official OpenTelemetry SDK sends logs by both transports; the rows are there when export returns."""
import json
import logging
import time

import pytest
import requests
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter as HttpExporter
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.resources import Resource


def exporter_for(server, transport, headers=None):
    if transport == "grpc":
        return GrpcExporter(endpoint=server.addresses["otlp_grpc"], insecure=True, headers=headers)
    if transport == "grpc-gzip":
        import grpc
        return GrpcExporter(endpoint=server.addresses["otlp_grpc"], insecure=True, headers=headers,
                            compression=grpc.Compression.Gzip)
    if transport == "http":
        return HttpExporter(endpoint=f"http://{server.addresses['otlp_http']}/v1/logs", headers=headers)
    return HttpExporter(endpoint=f"http://{server.addresses['http']}/api/v1/logs", headers=headers)


@pytest.mark.parametrize("transport", ["grpc", "grpc-gzip", "http", "http-main-port"])
def test_sdk_exporter(server, transport):
    provider = LoggerProvider(resource=Resource.create({"service.name": "shop", "replica": 3}))
    provider.add_log_record_processor(
        SimpleLogRecordProcessor(exporter_for(server, transport, {"stream-name": "otel"})))
    logger = logging.getLogger(f"test-{transport}")
    logger.propagate = False
    handler = LoggingHandler(logger_provider=provider)
    logger.addHandler(handler)
    for number in range(10):
        logger.warning("order %d placed", number, extra={"order": number, "ok": True})
    provider.shutdown()
    answer = server.query('SELECT body, severity_text, severity_number, "service.name", replica, "order", ok '
                          'FROM logs.otel ORDER BY "order"')
    assert answer["rows"] == [[f"order {n} placed", "WARN", 13, "shop", 3, n, True] for n in range(10)]


def request_of(records):
    message = logs_service_pb2.ExportLogsServiceRequest()
    scope = message.resource_logs.add().scope_logs.add()
    scope.scope.name = "tests"
    for fields in records:
        record = scope.log_records.add()
        record.time_unix_nano = fields.get("time", time.time_ns())
        record.body.string_value = fields["body"]
        if "trace" in fields:
            record.trace_id = bytes.fromhex(fields["trace"])
    return message


def test_http_protobuf_partial_success_and_errors(server):
    url = f"http://{server.addresses['otlp_http']}/v1/logs"
    headers = {"Content-Type": "application/x-protobuf"}
    far_future = time.time_ns() + 10 * 86_400 * 10**9
    message = request_of([{"body": "good", "trace": "0af7651916cd43dd8448eb211c80319c"},
                          {"body": "late", "time": far_future}])
    answer = requests.post(url, message.SerializeToString(), headers=headers, timeout=20)
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/x-protobuf"
    parsed = logs_service_pb2.ExportLogsServiceResponse.FromString(answer.content)
    assert parsed.partial_success.rejected_log_records == 1
    assert "future" in parsed.partial_success.error_message
    rows = server.query('SELECT body, trace_id, scope_name FROM logs."default"')["rows"]
    assert rows == [["good", "0af7651916cd43dd8448eb211c80319c", "tests"]]
    answer = requests.post(url, b"\xff\xff\xff not protobuf", headers=headers, timeout=20)
    assert answer.status_code == 400
    answer = requests.post(url, b"", headers=headers, timeout=20)
    assert answer.status_code == 200
    answer = requests.post(url, b"x", headers={"Content-Type": "text/plain"}, timeout=20)
    assert answer.status_code == 415


def test_http_json(server):
    url = f"http://{server.addresses['otlp_http']}/v1/logs"
    body = {"resourceLogs": [{"resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]},
                              "scopeLogs": [{"logRecords": [{
                                  "timeUnixNano": str(time.time_ns()), "severityNumber": 9, "severityText": "INFO",
                                  "traceId": "0af7651916cd43dd8448eb211c80319c", "spanId": "b7ad6b7169203331",
                                  "body": {"stringValue": "hello"},
                                  "attributes": [{"key": "count", "value": {"intValue": "7"}},
                                                 {"key": "ratio", "value": {"doubleValue": 0.5}},
                                                 {"key": "tags", "value": {"arrayValue": {"values": [
                                                     {"stringValue": "a"}, {"intValue": "1"}]}}}],
                                  "unknownMember": 1}]}]}]}
    answer = requests.post(url, json=body, timeout=20)
    assert answer.status_code == 200 and answer.headers["Content-Type"].startswith("application/json"), answer.text
    row = server.query('SELECT body, "count", ratio, tags, trace_id, span_id, "service.name" FROM logs."default"')["rows"][0]
    assert row[:3] == ["hello", 7, 0.5] and json.loads(row[3]) == ["a", 1]
    assert row[4:] == ["0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331", "cart"]


def test_token_is_needed_on_every_port(start):
    server = start("--set", "auth.mode=token")
    token = next(line.split()[-1] for line in server.log_path.read_text().splitlines() if "ms_" in line)
    token = token.split("=")[-1].strip('"')
    message = request_of([{"body": "x"}]).SerializeToString()
    url = f"http://{server.addresses['otlp_http']}/v1/logs"
    headers = {"Content-Type": "application/x-protobuf"}
    assert requests.post(url, message, headers=headers, timeout=20).status_code == 401
    good = {**headers, "Authorization": f"Bearer {token}"}
    assert requests.post(url, message, headers=good, timeout=20).status_code == 200
    provider = LoggerProvider()
    exporter = exporter_for(server, "grpc", {"authorization": f"Bearer {token}"})
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    logger = logging.getLogger("test-token")
    logger.propagate = False
    logger.addHandler(LoggingHandler(logger_provider=provider))
    logger.warning("by token")
    provider.shutdown()
    status, _, body = server.request("POST", "/api/v1/query", {"statement": 'SELECT body FROM logs."default" ORDER BY body'},
                                     {"Authorization": f"Bearer {token}"})
    assert status == 200 and json.loads(body)["rows"] == [["by token"], ["x"]]
