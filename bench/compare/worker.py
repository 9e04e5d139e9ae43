"""Holds an embedded engine in a process of its own, so that its CPU and memory can be measured from outside.

Reads one JSON command a line and answers with one JSON line:
    {"do": "version"} {"do": "run", "statement": S} {"do": "query", "statement": S}
Started as: worker.py clickhouse|duckdb PATH
"""
import json
import sys


class ClickHouse:
    def __init__(self, path):
        import chdb
        from chdb import session
        self.version = f"chdb {chdb.__version__}, core {chdb.engine_version}"
        self._session = session.Session(path)

    def run(self, statement):
        self._session.query(statement)

    def query(self, statement):
        return json.loads(self._session.query(statement, "JSONCompact").bytes())["data"]


class DuckDb:
    def __init__(self, path):
        import duckdb
        self.version = f"duckdb {duckdb.__version__}"
        self._connection = duckdb.connect(path)

    def run(self, statement):
        self._connection.execute(statement)

    def query(self, statement):
        return self._connection.execute(statement).fetchall()


def main():
    engine = {"clickhouse": ClickHouse, "duckdb": DuckDb}[sys.argv[1]](sys.argv[2])
    for line in sys.stdin:
        command = json.loads(line)
        try:
            if command["do"] == "version":
                answer = {"answer": engine.version}
            elif command["do"] == "run":
                answer = {"answer": engine.run(command["statement"])}
            else:
                answer = {"answer": engine.query(command["statement"])}
        except Exception as error:  # Whatever the engine throws is the harness's to show.
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
