"""Makes go wrong what dashboards and alerts are there to show (scripts/monitoring): clients that are slow, rude or many, and
real stores that hang, die or hold what nobody can read."""

import base64
import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.parse
import uuid

import server
from server import call

LOAD = "--users 20 --groups 4 --rate 20 --seconds 3600".split()
# So long that a few hundred fill what the kernels keep for a socket.
LONG = "长" * 20_000
TAKEN_OVER_WITHIN_S = 60


class Socket:
    """A client's socket that says hello."""

    def __init__(self, url, token, device, takes_little=False):
        address = urllib.parse.urlsplit(url)
        self.stream = socket.socket()
        if takes_little:
            self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        self.stream.connect((address.hostname, address.port))
        key = base64.b64encode(os.urandom(16)).decode()
        lines = ["GET /v1/socket HTTP/1.1", f"host: {address.netloc}", "upgrade: websocket", "connection: upgrade",
                 "sec-websocket-version: 13", f"sec-websocket-key: {key}", "sec-websocket-protocol: qunliu.v1.json"]
        self.stream.sendall("\r\n".join([*lines, "", ""]).encode())
        self.say({"type": "hello", "token": token, "device": device, "cursors": {}})
        # Up to the first bytes of the welcome, so that the socket is live when this returns.
        head = b""
        while b'"welcome"' not in head:
            more = self.stream.recv(256)
            if not more:
                raise SystemExit(f"no welcome but {head}")
            head += more

    def say(self, frame):
        """Sends one text frame, short enough for the length in two bytes; masked by zeros."""
        payload = json.dumps(frame).encode()
        self.stream.sendall(b"\x81\xfe" + len(payload).to_bytes(2) + bytes(4) + payload)


def by_clients(one, token, group, until):
    """What needs nothing but clients: one who takes nothing, one who types without end, one who is replaced."""
    deaf = Socket(one.url, token, "deaf", takes_little=True)
    until("Bytes that wait for sockets", "Pushes dropped for slow sockets",
          doing=lambda: say_long(one, token, group))
    replaced, rude = Socket(one.url, token, "rude"), Socket(one.url, token, "rude")
    until("Signals dropped", "Sockets closed by the server", doing=lambda: rude.say({"type": "typing", "group": group}))
    for each in (deaf, replaced, rude):
        each.stream.close()


def say_long(one, token, group):
    """Says more than what is kept of a log in Redis (twice 256 KiB)."""
    for _ in range(10):
        body = {"client_id": str(uuid.uuid4()), "body": {"kind": "text", "text": LONG}}
        call(f"{one.url}/v1/groups/{group}/messages", body, token)


def by_hanging(one, token, other, token_there, group, stores, until):
    """A node that hangs while so much is said on another one that the log is cut off above where it was."""
    redis = administrator(stores)
    listener = Socket(one.url, token, "listener")

    def hang():
        stream = stream_of(redis, group)
        reached = sequence(redis("XREVRANGE", stream, "+", "-", "COUNT", "1"))
        os.kill(one.pid, signal.SIGSTOP)
        try:
            say_long(other, token_there, group)
            # First its share of the work has to be taken over.
            deadline = time.monotonic() + TAKEN_OVER_WITHIN_S
            while sequence(redis("XRANGE", stream, "-", "+", "COUNT", "1")) <= reached + 1:
                if time.monotonic() > deadline:
                    raise SystemExit(f"the log is not cut off above {reached}")
                time.sleep(0.2)
        finally:
            os.kill(one.pid, signal.SIGCONT)
        time.sleep(2)  # until it was scraped

    until("Gaps of the tail, filled from the store", doing=hang)
    listener.stream.close()


def by_stores(one, stores, owner, program, token, group, until):
    """A MongoDB that hangs, a Redis that is full, hangs and crashes, all while people talk; then an event that nobody can
    read, for which the node's tail stops."""
    def rename():
        call(f"{one.url}/v1/groups/{group}", {"name": "改名"}, token, method="PATCH", refused=range(400, 600))

    @contextlib.contextmanager
    def hanging(name):
        server.services("pause", name, stores)
        try:
            yield
        finally:
            server.services("resume", name, stores)

    redis = administrator(stores)
    with server.talking(program, one.url, *owner, *LOAD):
        with hanging("mongodb"):
            until("Stores that do not answer", "Age of the oldest event not handled", "Batches taken again",
                  "Groups in which a sender waits for `stored`")
        # A change is decided elsewhere, and cannot be told.
        redis("CONFIG", "SET", "maxmemory", "1")
        try:
            until("Changes decided and not told", doing=rename)
        finally:
            redis("CONFIG", "SET", "maxmemory", "0")
        with hanging("redis"):
            until("Appends without an answer")
        server.services("restart", "redis", stores)
        until("Epochs raised in the last hour")
    unreadable(redis, group)
    until("Dead letters in the last hour", "Alerts that fire")


def administrator(stores):
    """Asks the Redis of this folder as its default user, who may do more than the server."""
    port = (pathlib.Path(stores) / "redis/port").read_text().strip()

    def redis(*words):
        done = subprocess.run(["redis-cli", "-p", port, *words], check=True, capture_output=True)
        return done.stdout.decode(errors="replace").strip()

    return redis


def stream_of(redis, group):
    """The key of a group's log."""
    return redis("KEYS", f"s{{*}}:{group}")


def sequence(entries):
    """The sequence number of the first of these entries of a log."""
    return int(entries.split()[0].split("-")[1])


def unreadable(redis, group):
    """Puts behind the newest event of a group one that no version wrote."""
    stream = stream_of(redis, group)
    tag = stream[1:stream.index(":")]
    epoch, seq = redis("GET", f"h{tag}:{group}").split()[0].split("-")
    redis("XADD", stream, f"{epoch}-{int(seq) + 1}", "m", "?")
    redis("SADD", f"a{tag}", group)
