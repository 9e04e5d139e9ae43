"""Runs .slt scripts (sqllogictest's form) against a real server.

    ingest STREAM [commit=MODE]      NDJSON lines until an empty line
    flush                            everything acknowledged goes to parts
    restart                          kill -9 and start again
    statement ok | statement error CODE      one statement; CODE is the `error` of the answer
    query TYPES [rowsort]            one statement, ----, expected rows, values separated by a tab or one a line

`skipif CONFIG` and `onlyif CONFIG` before a record choose by the name of the settings that run. TYPES has a letter a
column (I, R, T, B); NULL is written NULL, the empty string (empty).
"""
import json


class Record:
    def __init__(self, line, words, body, expected, conditions):
        self.line, self.words, self.body, self.expected, self.conditions = line, words, body, expected, conditions


def parse(text):
    records, lines, at, conditions = [], text.splitlines(), 0, []
    while at < len(lines):
        line = lines[at].strip()
        if not line or line.startswith("#"):
            at += 1
            continue
        words, begin = line.split(), at + 1
        at += 1
        if words[0] in ("skipif", "onlyif"):
            conditions.append(words)
            continue
        body, expected, current = [], None, None
        while at < len(lines) and lines[at].strip():
            if lines[at].strip() == "----" and words[0] == "query":
                expected = []
                current = expected
            elif current is None:
                body.append(lines[at])
            else:
                current.append(lines[at])
            at += 1
        records.append(Record(begin, words, "\n".join(body), expected, conditions))
        conditions = []
    return records


def show(value):
    if value is None:
        return "NULL"
    if value is True or value is False:
        return str(value).lower()
    if value == "":
        return "(empty)"
    if isinstance(value, float):
        return repr(int(value)) if value == int(value) and abs(value) < 1e15 else f"{value:.6g}"
    if isinstance(value, (list, dict)):
        return json.dumps(value)
    return str(value).replace("\n", "\\n").replace("\t", "\\t")


class Runner:
    """`restart` is called for `restart` and returns the new server; `config` is the settings' name."""

    def __init__(self, server, restart, config):
        self.server, self.restart, self.config = server, restart, config
        self.mode = {"flush-each-write": "force"}.get(config)

    def wanted(self, record):
        return all((word == "onlyif") == (name == self.config) for word, name in record.conditions)

    def run(self, text):
        ran = 0
        for record in parse(text):
            if self.wanted(record):
                fault = getattr(self, "do_" + record.words[0])(record)
                if fault:
                    raise AssertionError(f"line {record.line}: {' '.join(record.words)}\n{record.body}\n{fault}")
                ran += 1
                if self.config == "restart-each-record" and record.words[0] == "ingest":
                    self.server = self.restart()
        return ran

    def do_ingest(self, record):
        modes = [word.split("=")[1] for word in record.words[2:] if word.startswith("commit=")]
        mode = self.mode or (modes[0] if modes else None)
        path = f"/api/v1/ingest/logs/{record.words[1]}" + (f"?commit={mode}" if mode else "")
        bodies = record.body.splitlines() if self.config == "one-row-requests" else [record.body]
        for body in bodies:
            status, _, answer = self.server.request("POST", path, body)
            if status != 200 or json.loads(answer)["rejected"]:
                return f"answered {status}: {answer.decode()}"
        return None

    def do_flush(self, record):
        for stream in json.loads(self.server.request("GET", "/api/v1/streams")[2])["streams"]:
            if stream["hot_rows"]:
                self.server.flush(stream["name"])
        return None

    def do_restart(self, record):
        self.server = self.restart()
        return None

    def ask(self, statement):
        status, _, body = self.server.request("POST", "/api/v1/query", {"statement": statement})
        return status, json.loads(body)

    def do_statement(self, record):
        status, answer = self.ask(record.body)
        if record.words[1] == "ok":
            return None if status == 200 else f"answered {status}: {answer}"
        if status == 200:
            return "an error was expected"
        return None if answer["error"] == record.words[2] else f"error {answer['error']}: {answer['message']}"

    def do_query(self, record):
        status, answer = self.ask(record.body)
        if status != 200:
            return f"answered {status}: {answer}"
        if len(answer["columns"]) != len(record.words[1]):
            return f"{len(answer['columns'])} columns, {len(record.words[1])} expected"
        rows = ["\t".join(show(value) for value in row) for row in answer["rows"]]
        expected = list(record.expected or [])
        if "rowsort" in record.words[2:]:
            rows.sort()
            expected.sort()
        if rows != expected:
            return "expected:\n" + "\n".join(expected) + "\ngot:\n" + "\n".join(rows)
        return None
