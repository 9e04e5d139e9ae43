"""The README's first minute, as a user would paste it."""
import gzip
import os
import re
import subprocess

from server_process import default_binary


def shell_blocks(text, heading):
    section = text.split(f"## {heading}", 1)[1].split("\n## ", 1)[0]
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_the_first_minute(server, repository, tmp_path):
    blocks = shell_blocks((repository / "README.md").read_text(), "The first minute")
    assert blocks
    script = "set -eu\n" + blocks[0].replace("127.0.0.1:5080", server.addresses["http"]) \
        .replace("build/release/molesignal", default_binary())
    (tmp_path / "app.ndjson.gz").write_bytes(gzip.compress(b'{"level":"info","message":"from a file"}\n' * 10))
    done = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60,
                          env={**os.environ, "MS_URL": f"http://{server.addresses['http']}"})
    assert done.returncode == 0, done.stderr
    assert '"accepted":1' in done.stdout and "payment failed" in done.stdout
    assert server.query("SELECT count(*) FROM logs.app")["rows"] == [[11]]
