"""A memory limit around a server under test: a cgroup of version 1 or 2. Needs root."""
import os
import pathlib
import signal
import subprocess

V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")


def is_possible():
    return os.geteuid() == 0 and (os.access(V1, os.W_OK) and (V1 / "memory.limit_in_bytes").exists()
                                  or "memory" in _controllers())


def _controllers():
    path = V2 / "cgroup.subtree_control"
    return path.read_text().split() if path.exists() else []


class MemoryCgroup:
    """Commands run with `prefix` and all that they start share `megabytes`; the kernel kills beyond."""

    def __init__(self, name, megabytes):
        self.is_v1 = (V1 / "memory.limit_in_bytes").exists()
        self.folder = (V1 if self.is_v1 else V2) / f"molesignal-{name}-{os.getpid()}"
        self.bytes = megabytes << 20

    def __enter__(self):
        self.folder.mkdir()
        (self.folder / ("memory.limit_in_bytes" if self.is_v1 else "memory.max")).write_text(str(self.bytes))
        return self

    @property
    def prefix(self):
        return ["sh", "-c", f'echo $$ > "{self.folder}/cgroup.procs" && exec "$@"', "sh"]

    def kills(self):
        """How often the kernel ended something here for its memory."""
        text = (self.folder / ("memory.oom_control" if self.is_v1 else "memory.events")).read_text()
        return int(next(line.split()[1] for line in text.splitlines() if line.startswith("oom_kill ")))

    def peak_megabytes(self):
        path = self.folder / ("memory.max_usage_in_bytes" if self.is_v1 else "memory.peak")
        return int(path.read_text()) / (1 << 20)

    def __exit__(self, *_):
        for pid in (self.folder / "cgroup.procs").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
            try:
                os.waitpid(int(pid), 0)
            except ChildProcessError:
                pass
        subprocess.run(["sh", "-c", f"for i in 1 2 3 4 5 6 7 8 9; do rmdir '{self.folder}' && exit; sleep 0.1; done"],
                       capture_output=True, check=False)
