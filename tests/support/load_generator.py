"""Load by the programs of bench/ beside the server under test: loggen makes rows, http_load offers them. Standard library only."""
import json
import pathlib
import subprocess
import time

from server_process import default_binary

BUILD = pathlib.Path(default_binary()).resolve().parent


def make_rows(path, rows, seed=7):
    """`rows` generated rows of the last minute, as NDJSON."""
    with open(path, "wb") as out:
        subprocess.run([str(BUILD / "loggen"), "--rows", str(rows), "--seed", str(seed),
                        "--start-us", str(int(time.time() * 1e6) - 60_000_000)], stdout=out, check=True)
    return path


def offer(server, body, writers, seconds, stream="load", background=False, pause_ms=0):
    """Sends the file again and again; the report of bench/http_load.cc, or with `background` the process that prints it."""
    command = [str(BUILD / "http_load"), "--http", server.addresses["http"], "--path", f"/api/v1/ingest/logs/{stream}",
               "--body", str(body), "--writers", str(writers), "--seconds", str(seconds), "--pause-ms", str(pause_ms)]
    if background:
        return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
