#!/usr/bin/env python3
"""Runs a command beside a Postgres server of its own.

    tests/support/postgres_server.py COMMAND [ARGUMENT...]

Makes a database cluster in a temporary folder, starts it on a Unix socket there (no network), runs
the command with MS_TEST_POSTGRES_URL set, stops the server and removes the folder. The exit code is
the command's; 77 if Postgres is not installed. As root the server runs as an ordinary user, for it
refuses to run as root. Also a context manager for other tests. Standard library only.
"""
import glob
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.parse

NOT_INSTALLED = 77


def find_programs():
    """The folder of initdb and postgres, the newest version; None if there is none."""
    candidates = glob.glob("/usr/lib/postgresql/*/bin/initdb")
    if candidates:
        newest = max(candidates, key=lambda path: int(path.split("/")[4].split(".")[0]))
        return pathlib.Path(newest).parent
    on_path = shutil.which("initdb")
    return pathlib.Path(on_path).resolve().parent if on_path else None


def ordinary_user():
    """The user that runs the server if we are root; None if we are an ordinary user already."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise RuntimeError("no user postgres or nobody to run the server as")


class PostgresServer:
    """A server in its own temporary folder. `url` is a connection URL."""

    def __init__(self, settings=()):
        self.programs = find_programs()
        if self.programs is None:
            raise FileNotFoundError("Postgres is not installed (package postgresql)")
        self.user = ordinary_user()
        self.settings = settings
        # Short, because a socket's path has at most 107 bytes.
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ms-pg-", dir="/tmp"))
        if self.user:
            os.chown(self.folder, self.user.pw_uid, self.user.pw_gid)
        self.data = self.folder / "data"
        self.url = "postgresql:///postgres?" + urllib.parse.urlencode(
            {"host": str(self.folder), "user": "postgres"})

    def _run(self, *command):
        options = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "cwd": self.folder}
        if self.user:
            options |= {"user": self.user.pw_uid, "group": self.user.pw_gid, "extra_groups": []}
        done = subprocess.run([str(part) for part in command], **options)
        if done.returncode != 0:
            raise RuntimeError(f"{command[0]} failed:\n{done.stdout}")

    def _control(self, *arguments):
        # -l, so that the server does not keep our pipe open.
        self._run(self.programs / "pg_ctl", "-D", self.data, "-l", self.folder / "server.log", "-w", *arguments)

    def initialise(self):
        self._run(self.programs / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8",
                  "--no-locale", "--no-sync")

    def start(self):
        settings = ["listen_addresses=", f"unix_socket_directories={self.folder}", "max_connections=60",
                    "shared_buffers=16MB", *self.settings]
        self._control("start", "-o", " ".join(f"-c {setting}" for setting in settings))

    def stop(self, mode="fast"):
        self._control("stop", "-m", mode)

    def __enter__(self):
        try:
            self.initialise()
            self.start()
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop("immediate")
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if find_programs() is None:
        print("skipped: Postgres is not installed (package postgresql)", file=sys.stderr)
        return NOT_INSTALLED
    # Ctrl-C and a test's time-out leave no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with PostgresServer() as server:
        return subprocess.run(sys.argv[1:], env={**os.environ, "MS_TEST_POSTGRES_URL": server.url}).returncode


if __name__ == "__main__":
    sys.exit(main())
