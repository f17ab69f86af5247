"""Throwaway servers and stores for tests and benches that look at them from outside (web, api, metrics, monitoring,
bench), and how they are asked."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import tempfile
import threading
import time
import typing
import urllib.error
import urllib.request

import fetch

# The real stores, as variables name them.
STORES = ("REDIS", "MONGODB", "POSTGRES")
# What the server prints when it takes calls.
LISTENING = re.compile(r"listening (?P<url>https?://\S+) admin (?P<admin>http://\S+)")
# What it traces once somebody was heard.
TALKS = re.compile(rb"accepted=[1-9]")
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
# What `qunliu load` may make before it talks: thousands of groups.
TALK_TIMEOUT_S = 1_800


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


def services(*arguments):
    """Run scripts/services and return what it prints. If we are interrupted, it still cleans up."""
    command = [fetch.ROOT / "scripts/services", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        printed = process.communicate()[0]
    except BaseException:
        process.terminate()
        process.wait()
        raise
    if process.returncode != 0:
        raise SystemExit(f"scripts/services {arguments[0]} failed")
    return printed


@contextlib.contextmanager
def real_stores(only="redis,mongodb,postgres"):
    """A Redis, a MongoDB and a PostgreSQL that are empty and nobody else's, as the tests' variables name them."""
    lines = services("start", "--only", only).splitlines()
    variables = dict(line.split("=", 1) for line in lines)
    try:
        yield variables
    finally:
        services("stop", variables["QUNLIU_TEST_SERVICES_DIR"])


def addresses(stores):
    """The settings of a server that is to keep everything in these."""
    # Redis syncs each append, but the user that its address names may not see that.
    assured = {"QUNLIU_REDIS_APPENDFSYNC_ASSURED": "true"}
    return {f"QUNLIU_STORES_{name}": stores[f"QUNLIU_TEST_{name}"] for name in STORES} | assured


@contextlib.contextmanager
def talking(program, url, *options):
    """`qunliu load` that talks until it is ended; begins when something of it was accepted."""
    with tempfile.TemporaryFile() as trace:
        command = [program, "load", "--url", url, *options, "--trace"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=trace) as load:
            try:
                deadline = time.monotonic() + TALK_TIMEOUT_S
                while not TALKS.search(os.pread(trace.fileno(), 1 << 20, 0)):
                    if load.poll() is not None or time.monotonic() > deadline:
                        told = os.pread(trace.fileno(), 1 << 20, 0).decode(errors="replace")
                        raise SystemExit(f"the load does not talk:\n{told[-4000:]}")
                    time.sleep(0.2)
                yield
                if load.poll() is not None:
                    raise SystemExit(f"the load ended by itself ({load.returncode})")
            finally:
                load.kill()


def program():
    """The path of the server, brought up to date by the same build as `cargo test`, so never built twice."""
    build = ["cargo", "test", "--no-run", "--quiet", "--locked"]
    if subprocess.run(build, cwd=fetch.ROOT).returncode != 0:
        raise SystemExit("the server does not build")
    target = os.environ.get("CARGO_TARGET_DIR") or "target"
    return fetch.ROOT / target / "debug/qunliu"  # an absolute `target` replaces ROOT


def call(url, body=None, token=None, method=None, refused=()):
    """GET, or POST of a JSON body; the answer's bytes, or None if its status is one of `refused`. Any other error status
    ends the script."""
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(url, data=data, headers={"content-type": "application/json"}, method=method)
    if token:
        request.add_header("authorization", f"Bearer {token}")
    # No proxy that the environment may name: all is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=30) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        if error.code in refused:
            return None
        raise SystemExit(f"{url}: {error.code} {error.read().decode(errors='replace')}") from error
