"""Starts servers on free loopback ports, and ends them by their process group."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time

from . import ISSO, Refused

TICKS = os.sysconf("SC_CLK_TCK")
READY_S = 60
#: commentd takes up to ten seconds to finish what is in flight.
END_S = 15
ISSO_CONFIG = """
[general]
dbpath = {folder}/comments.db
host = http://127.0.0.1/
[moderation]
enabled = false
[server]
listen = http://127.0.0.1:{port}
[guard]
enabled = false
"""


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def call(port, path, text=None):
    """One call: GET, or POST with a body. Gives status and content."""
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(caller):
        caller.request("POST" if text else "GET", path, text, {"Content-Type": "application/json"} if text else {})
        reply = caller.getresponse()
        return reply.status, reply.read()


class Server:
    """A running server: its port, and what its process group has used. `with` waits for it, and ends it."""

    def __init__(self, name, port, args, folder, *, ready="/ready", env=None, poll_s=0.005):
        self.name, self.port, self.log, self.ready, self.poll_s = name, port, folder / "log", ready, poll_s
        folder.mkdir(parents=True, exist_ok=True)
        with open(self.log, "w") as log:
            self.spawned = time.perf_counter()
            self.process = subprocess.Popen(
                [str(arg) for arg in args], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )

    def __str__(self):
        return f"127.0.0.1:{self.port}"

    def is_ready(self):
        try:
            return call(self.port, self.ready)[0] == 200
        except (OSError, http.client.HTTPException):
            return False

    def __enter__(self):
        while not self.is_ready():
            if self.process.poll() is not None or time.perf_counter() - self.spawned > READY_S:
                self.end()
                raise Refused(f"{self.name} didn't get ready: {self.log.read_text()[-2000:]}")
            time.sleep(self.poll_s)
        self.ready_ms = 1000 * (time.perf_counter() - self.spawned)
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Asks the group to end, then makes it."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(END_S)
                break
        # Whatever its leader left behind.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def _group(self):
        for name in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open(f"/proc/{name}/stat") as file:
                # State, parent, group: the group is the pid of its leader.
                fields = file.read().rsplit(")", 1)[1].split()
                if int(fields[2]) == self.process.pid:
                    yield name, fields

    def cpu_s(self):
        """Processor seconds of all processes of the group so far, user and system."""
        return sum(int(fields[11]) + int(fields[12]) for _, fields in self._group()) / TICKS

    def memory_bytes(self, field="VmHWM"):
        """Resident memory, summed over the group: VmHWM is the peak, VmRSS what it is now."""
        total = 0
        for pid, _ in self._group():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/status") as status:
                total += sum(1024 * int(line.split()[1]) for line in status if line.startswith(f"{field}:"))
        return total


def commentd(path, folder, *flags, name="commentd", **how):
    """A sidecar with these flags, away from any configuration that lies around."""
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COMMENTD_", "PYWEIXIN_"))}
    env |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return Server(name, port, [path, "serve", "--port", port, *flags], folder, env=env, **how)


def isso(folder, port=None):
    """An Isso without moderation; its database is `comments.db` in the folder."""
    port = port or free_port()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "isso.cfg").write_text(ISSO_CONFIG.format(folder=folder, port=port))
    return Server("isso", port, [ISSO, "-c", folder / "isso.cfg", "run"], folder, ready="/info", poll_s=0.05)
