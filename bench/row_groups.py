#!/usr/bin/env python3
"""What rows a row group and bytes a page should have: the same generated rows in files of several shapes.

    bench/row_groups.py [--rows N] [--directory DIR]

Prints a table: bytes of the file and of its footer, and what DuckDB's reader needs for scans and for a few selected rows
(bench/row_groups.cc). Rows are in slices of time, the newest first, and by service inside a row group, as in our parts.
Needs pyarrow (.deps/venv/bin/python3) and: scripts/build release ms_loggen ms_row_groups
"""
import argparse
import json
import pathlib
import subprocess
import tempfile
import time

import pyarrow
import pyarrow.json
import pyarrow.parquet

BUILD = pathlib.Path(__file__).resolve().parents[1] / "build/release"
FEW_VALUES = ["level", "service", "host", "method", "path"]
ENCODINGS = {"_timestamp": "DELTA_BINARY_PACKED",
             **{name: "DELTA_LENGTH_BYTE_ARRAY" for name in ("trace_id", "span_id", "user_id", "message")}}
# (rows of a group, KiB of a page)
SHAPES = [(2048, 1024), (4096, 1024), (8192, 1024), (16384, 1024), (32768, 1024), (122_880, 1024),
          (122_880, 256), (122_880, 64), (122_880, 16)]


def write(table, shape, path):
    rows, page_kib = shape
    slices = [table.slice(begin, rows).sort_by([("service", "ascending"), ("_timestamp", "descending")])
              for begin in range(0, table.num_rows, rows)]
    with pyarrow.parquet.ParquetWriter(path, table.schema, compression="zstd", compression_level=1, use_dictionary=FEW_VALUES,
                                       column_encoding=ENCODINGS, data_page_size=page_kib << 10, write_page_index=True,
                                       write_page_checksum=True) as writer:
        for piece in slices:
            writer.write_table(piece, row_group_size=rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--directory", default=None)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.directory) as directory:
        logs = pathlib.Path(directory) / "logs.ndjson"
        with open(logs, "wb") as out:
            subprocess.run([BUILD / "loggen", "--rows", str(options.rows), "--seed", "1", "--start-us",
                            str(int((time.time() - 7200) * 1e6))], stdout=out, check=True)
        table = pyarrow.json.read_json(logs).sort_by([("_timestamp", "descending")])
        heads = None
        for shape in SHAPES:
            path = pathlib.Path(directory) / "rows.parquet"
            write(table, shape, path)
            line = json.loads(subprocess.run([BUILD / "row_groups", path], check=True, capture_output=True, text=True).stdout)
            del line["file"]
            if heads is None:
                heads = list(line)
                print("| rows of a group | page KiB | MB | footer KB | " + " | ".join(heads) + " |")
                print("|---" * (len(heads) + 4) + "|")
            footer = pyarrow.parquet.read_metadata(path).serialized_size
            print(f"| {shape[0]} | {shape[1]} | {path.stat().st_size / 1e6:.1f} | {footer / 1e3:.0f} | "
                  + " | ".join(f"{line[head]:.1f}" for head in heads) + " |", flush=True)


if __name__ == "__main__":
    main()
