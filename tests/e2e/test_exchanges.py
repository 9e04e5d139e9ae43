"""Golden HTTP exchanges: the bytes of a request and the answer to them, in tests/e2e/exchanges/*.http.

A file is a conversation with one fresh server. Each exchange is

    > POST /api/v1/ingest/logs/app HTTP/1.1
    > Content-Type: application/json
    >
    > {"n":1}
    < 200
    < Content-Type: application/json
    <
    < {"accepted":1,"rejected":0,"errors":[]}

Host and Content-Length are added where the request does not say them. Of the answer the status, the telling headers
and the body are compared; what differs from run to run (ids, times, ports) stands as {placeholder}. A file that begins
with "token" runs with auth.mode=token; {admin} in a request is then the first token; {ulid} is the last id that an
answer named. MS_TEST_REWRITE=1 writes what the
server answers now.
"""
import os
import pathlib
import re
import socket

import pytest

EXCHANGES = pathlib.Path(__file__).resolve().parent / "exchanges"
SHOWN_HEADERS = ("content-type", "content-encoding", "retry-after", "www-authenticate", "allow", "connection",
                 "x-request-id", "content-disposition")
VOLATILE = [
    (r'("request_id":")[^"]+', r"\1{id}"), (r"(?m)^(< x-request-id: )\S+$", r"\1{id}"),
    (r'("took_ms":)\d+', r"\1{ms}"), (r'("(?:scanned_)?bytes":)\d+', r"\1{bytes}"),
    (r"\b[0-9a-hjkmnp-tv-z]{26}\b", "{ulid}"), (r"ms_[0-9a-zA-Z]+_[0-9a-zA-Z]+", "{token}"),
    (r'("prefix":")[^"]+', r"\1{prefix}"), (r'("(?:created|expires)_[a-z_]+":)\d+', r"\1{time}"),
    (r"\d+\.\d h in the", "{hours} h in the"), (r"127\.0\.0\.1:\d+", "{address}"), (r'("(?:time_min|time_max|start|end)":)\d{10,}', r"\1{time}"),
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "{time}"), (r'("next_cursor":")[0-9a-f]+', r"\1{cursor}"),
    (r'("_timestamp_nanos":)\d+', r"\1{nanos}"), (r'\b\d{1,3}(,\d+,\d+,"\d+-\d+"\])', r"{nanos}\1"),
]


def parse(text):
    """(comment lines, request lines) of each exchange; the answers are what is compared."""
    exchanges, comments, request = [], [], []
    for line in [*text.splitlines(), ""]:
        if line.startswith(">"):
            request.append(line[2:])
        elif request:
            exchanges.append((comments, request))
            comments, request = [], []
        elif line.startswith("#"):
            comments.append(line)
    return exchanges


def request_bytes(lines, known):
    for name, value in known.items():
        lines = [line.replace(name, value) for line in lines]
    split = lines.index("") if "" in lines else len(lines)
    head, body = lines[:split], "\n".join(lines[split + 1:]).encode().decode("unicode_escape").encode("latin-1")
    names = {line.split(":")[0].lower() for line in head[1:]}
    if "host" not in names:
        head.append("Host: localhost")
    if body and not names & {"content-length", "transfer-encoding"}:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def read_answer(stream, method):
    """Status, headers and body of one answer."""
    status = int(stream.readline().split()[1])
    headers = []
    while (line := stream.readline().strip().decode("latin-1")):
        name, value = line.split(":", 1)
        headers.append((name.lower(), value.strip()))
    fields = dict(headers)
    body = b""
    if method != "HEAD" and status not in (204, 304):
        if fields.get("transfer-encoding") == "chunked":
            while (size := int(stream.readline(), 16)):
                body += stream.read(size)
                stream.readline()
            stream.readline()
        else:
            body = stream.read(int(fields.get("content-length", 0)))
    return status, headers, body


def shown(status, headers, body):
    lines = [f"< {status}"]
    lines += [f"< {name}: {value}" for name, value in sorted(headers) if name in SHOWN_HEADERS]
    if body:
        lines += ["<"] + ["< " + line for line in body.decode("utf-8", "backslashreplace").replace("\r", "\\r").splitlines()]
    text = "\n".join(line.rstrip() for line in lines)
    for pattern, placeholder in VOLATILE:
        text = re.sub(pattern, placeholder, text)
    return text


@pytest.mark.parametrize("script", sorted(path.name for path in EXCHANGES.glob("*.http")))
def test_exchange(start, script):
    path = EXCHANGES / script
    text = path.read_text()
    tokens = script.startswith("token")
    server = start(*(["--set", "auth.mode=token"] if tokens else []))
    known = {"{admin}": re.search(r"ms_\S+", server.log_path.read_text())[0] if tokens else ""}
    host, port = server.addresses["http"].rsplit(":", 1)
    out = []
    exchanges = parse(text)
    assert exchanges, "the script has no exchange"
    for comments, request in exchanges:
        with socket.create_connection((host, int(port)), timeout=30) as connection:
            connection.sendall(request_bytes(request, known))
            answer = read_answer(connection.makefile("rb"), request[0].split()[0])
        if found := re.search(rb'"id":"([0-9a-hjkmnp-tv-z]{26})"', answer[2]):
            known["{ulid}"] = found[1].decode()
        out += comments + [("> " + line).rstrip() for line in request] + [shown(*answer), ""]
    actual = "\n".join(out)
    if os.environ.get("MS_TEST_REWRITE") == "1":
        path.write_text(actual)
    assert actual == text
