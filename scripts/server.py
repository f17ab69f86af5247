"""A throwaway server for tests and benches that look at it from outside (web, metrics, bench)."""

import contextlib
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import typing

import fetch

# What the server prints when it takes calls.
LISTENING = re.compile(r"listening (?P<url>https?://\S+) admin (?P<admin>http://\S+)")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60


class Server(typing.NamedTuple):
    """A server that takes calls."""

    url: str
    admin: str
    pid: int


@contextlib.contextmanager
def running(binary=None, settings=None):
    """Start a server with embedded stores on free loopback ports: the dev build with its defaults,
    unless another binary, or settings as QUNLIU_... names, are given. Yields a Server."""
    with tempfile.TemporaryDirectory(prefix="qunliu-", ignore_cleanup_errors=True) as folder:
        log = pathlib.Path(folder, "log")
        command = [binary or program(), "serve", "--data", f"{folder}/data"]
        command += ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"]
        # Only its defaults: nothing that the caller happens to have set.
        environment = {k: v for k, v in os.environ.items() if not k.startswith("QUNLIU_")}
        environment |= settings or {}
        with open(log, "wb") as errors:
            process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        # A server that hangs at its start is killed, which ends the loop below.
        watchdog = threading.Timer(START_TIMEOUT_S, process.kill)
        watchdog.start()
        try:
            found = next(filter(None, map(LISTENING.search, process.stdout)), None)
            watchdog.cancel()
            if found is None:
                raise SystemExit(f"the server did not start:\n{log.read_text(errors='replace')[-4000:]}")
            yield Server(found["url"], found["admin"], process.pid)
            if process.poll() is not None:
                text = log.read_text(errors="replace")[-4000:]
                raise SystemExit(f"the server ended by itself ({process.returncode}):\n{text}")
        finally:
            watchdog.cancel()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def settings_on(services):
    """The settings of a server on what scripts/services printed; none if one of the stores is not there."""
    addresses = {f"QUNLIU_STORES_{name}": services.get(f"QUNLIU_TEST_{name}")
                 for name in ("REDIS", "MONGODB", "POSTGRES")}
    # It has set `appendfsync always`; the user that its address names may not look.
    assured = {"QUNLIU_REDIS_APPENDFSYNC_ASSURED": "true"}
    return addresses | assured if all(addresses.values()) else {}


def program():
    """The path of the server, brought up to date by the same build as `cargo test`, so never built twice."""
    build = ["cargo", "test", "--no-run", "--quiet", "--locked"]
    if subprocess.run(build, cwd=fetch.ROOT).returncode != 0:
        raise SystemExit("the server does not build")
    target = os.environ.get("CARGO_TARGET_DIR") or "target"
    return fetch.ROOT / target / "debug/qunliu"  # an absolute `target` replaces ROOT
