"""A small file system of its own for a server under test: a tmpfs in a private mount namespace. Needs root."""
import os
import pathlib
import shutil
import subprocess


def is_possible():
    """Whether this machine lets us have one."""
    if os.geteuid() != 0 or not shutil.which("unshare") or not shutil.which("nsenter"):
        return False
    return subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode == 0


class PrivateMount:
    """A tmpfs of `megabytes` at `path`, seen only by commands run with `prefix`, until __exit__."""

    def __init__(self, path, megabytes):
        self.path, self.megabytes = pathlib.Path(path), megabytes

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c",
             f"mount -t tmpfs -o size={self.megabytes}m tmpfs '{self.path}' && echo mounted && exec sleep infinity"],
            stdout=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "mounted\n":
            raise RuntimeError("the private mount failed")
        return self

    @property
    def prefix(self):
        return ["nsenter", "--mount", f"--target={self.holder.pid}", "--"]

    def run(self, *command):
        return subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True).stdout

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()
