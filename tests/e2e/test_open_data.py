"""Other engines read our Parquet files and agree with our answers."""
import random

import duckdb
import pyarrow.parquet


def test_pyarrow_and_duckdb_read_the_parts(server):
    generator = random.Random(5)
    rows = [{"service": generator.choice(["web", "api", "db"]), "code": generator.randrange(500),
             "ratio": generator.random(), "message": f"request {generator.randrange(1000)} done"} for _ in range(5000)]
    for begin in range(0, len(rows), 1000):
        server.ingest("app", rows[begin:begin + 1000], "?commit=force")
    files = sorted(str(path) for path in (server.data_dir / "objects").rglob("*.parquet"))
    assert files
    tables = [pyarrow.parquet.read_table(path) for path in files]
    assert sum(table.num_rows for table in tables) == 5000
    for path in files:
        schema = pyarrow.parquet.ParquetFile(path).schema_arrow
        assert all(field.metadata and b"PARQUET:field_id" in field.metadata for field in schema), schema
    statement = "SELECT service, count(*) AS n, sum(code) AS total, min(message), max(ratio) FROM {} GROUP BY service ORDER BY service"
    ours = server.query(statement.format("logs.app"))["rows"]
    theirs = duckdb.sql(statement.format(f"read_parquet({files!r}, union_by_name=true)")).fetchall()
    assert [list(row) for row in theirs] == ours
    assert len(ours) == 3
