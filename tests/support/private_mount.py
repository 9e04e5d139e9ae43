"""A small file system of its own for a server under test, in a private mount namespace: a tmpfs, or an ext4 that can turn
read-only while files are open. Needs root."""
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

    def _mount_command(self):
        return ["mount", "-t", "tmpfs", "-o", f"size={self.megabytes}m", "tmpfs", str(self.path)]

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        self.holder = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "sh", "-c", '"$@" && echo mounted && exec sleep infinity', "sh",
             *self._mount_command()], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.holder.stdout.readline() != "mounted\n":
            raise RuntimeError(f"the private mount failed: {self.holder.communicate()[1].strip()}")
        return self

    @property
    def prefix(self):
        return ["nsenter", "--mount", f"--target={self.holder.pid}", "--"]

    def run(self, *command):
        return subprocess.run([*self.prefix, *command], check=True, capture_output=True, text=True).stdout

    def __exit__(self, *_):
        self.holder.kill()
        self.holder.wait()


class PrivateExt4(PrivateMount):
    """The same with an ext4 in a file beside `path`, which turns read-only as it does after an error of its disk."""

    @staticmethod
    def is_possible():
        return is_possible() and shutil.which("mkfs.ext4") and os.path.exists("/dev/loop-control")

    def _mount_command(self):
        return ["mount", "-t", "ext4", "-o", "loop,errors=remount-ro", str(self.image), str(self.path)]

    def __enter__(self):
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.image = self.path.with_name(self.path.name + ".img")
        with open(self.image, "wb") as file:
            file.truncate(self.megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-F", str(self.image)], check=True, capture_output=True)
        return super().__enter__()

    def __exit__(self, *_):
        super().__exit__()
        self.image.unlink()

    def turn_read_only(self):
        """At once, whatever is open for writing: a plain remount would refuse that."""
        self.run("mount", "-o", "remount,abort", str(self.path))

    def turn_writable(self):
        """As an administrator does it: nothing may have it open any more."""
        self.run("umount", str(self.path))
        checked = subprocess.run(["fsck.ext4", "-p", str(self.image)], capture_output=True, text=True)
        if checked.returncode not in (0, 1):  # 1: errors were corrected.
            raise RuntimeError(f"fsck failed: {checked.stdout}{checked.stderr}")
        self.run(*self._mount_command())
