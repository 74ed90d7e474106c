"""Starts what is measured on free loopback ports, and ends it by its process group."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import time

from . import Refused

TICKS = os.sysconf("SC_CLK_TCK")
READY_S = 30
#: commentd takes up to ten seconds to finish what is in flight.
END_S = 15

UPSTREAM_REPLY = (
    '{"v":1,"ok":true,"error_code":0,"error_message":"","latency_ms":1,"task_id":"",'
    '"data":{"outcome":"delivered","comment_id":"c1"}}'
)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def status_of(port, path):
    """The status of a GET; None while nobody listens."""
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        caller.request("GET", path)
        return caller.getresponse().status
    except (OSError, http.client.HTTPException):
        return None
    finally:
        caller.close()


class Server:
    """A running server: its port, and what its process group has used."""

    def __init__(self, name, port, args, folder, env=None):
        self.name, self.port, self.log = name, port, folder / "log"
        with open(self.log, "w") as log:
            self.spawned = time.perf_counter()
            self.process = subprocess.Popen(
                [str(arg) for arg in args], cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True,
            )

    def __str__(self):
        return f"127.0.0.1:{self.port}"

    def wait_ready(self, path, poll_s=0.005):
        """Waits until a GET is answered 200; gives the time since the start, in ms."""
        while status_of(self.port, path) != 200:
            if self.process.poll() is not None or time.perf_counter() - self.spawned > READY_S:
                raise Refused(f"{self.name} didn't get ready: {self.log.read_text()[-2000:]}")
            time.sleep(poll_s)
        return 1000 * (time.perf_counter() - self.spawned)

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
        for name in os.listdir("/proc"):
            if name.isdigit():
                with contextlib.suppress(OSError):
                    with open(f"/proc/{name}/stat") as file:
                        fields = file.read().rsplit(")", 1)[1].split()
                    # State, parent, group: the group is the pid of its leader.
                    if int(fields[2]) == self.process.pid:
                        yield name, fields

    def cpu_s(self):
        """Processor seconds of all processes of the group so far, user and system."""
        return sum(int(fields[11]) + int(fields[12]) for _, fields in self._group()) / TICKS

    def memory_bytes(self, field="VmHWM"):
        """Resident memory, summed over the group: VmHWM is the peak, VmRSS what it is now."""
        total = 0
        for pid, _ in self._group():
            with contextlib.suppress(OSError):
                with open(f"/proc/{pid}/status") as status:
                    total += sum(1024 * int(line.split()[1]) for line in status if line.startswith(f"{field}:"))
        return total


@contextlib.contextmanager
def running(server, path, poll_s=0.005):
    """A server from ready to ended."""
    try:
        server.ready_ms = server.wait_ready(path, poll_s)
        yield server
    finally:
        server.end()


NGINX = """
{user}
# One for each core, as Debian's package has it: faster here than a single one.
worker_processes auto;
daemon off;
pid {folder}/pid;
error_log {folder}/error.log crit;
worker_rlimit_nofile 16384;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    {rest}
}}
"""
UPSTREAM = """
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location = /seen {{ stub_status; }}
        location / {{ default_type application/json; return 200 '{reply}'; }}
    }}
"""
HOP = """
    upstream next {{ server {upstream}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 600s; }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{ proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; }}
    }}
"""


def nginx(context, name, folder, rest, **fields):
    folder.mkdir(parents=True)
    port = free_port()
    rest = rest.format(port=port, **fields)
    # As root its workers would be nobody, who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(user=user, folder=folder, rest=rest))
    args = [context.nginx, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    return Server(name, port, args, folder)


def upstream(context, folder):
    """An nginx that answers every call with the same v1 reply and counts the calls."""
    server = nginx(context, "upstream", folder, UPSTREAM, reply=UPSTREAM_REPLY)
    return running(server, "/seen")


def seen(server):
    """How many requests an upstream has answered, those that asked for it aside. For differences: it counts probes."""
    caller = http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)
    caller.request("GET", "/seen")
    words = caller.getresponse().read().decode().split()
    caller.close()
    server.asked = getattr(server, "asked", 0) + 1
    # "server accepts handled requests" stands above three numbers.
    return int(words[words.index("requests") + 3]) - server.asked


def proxy(context, folder, to):
    """An nginx that passes everything on, over connections that it keeps."""
    return running(nginx(context, "nginx", folder, HOP, upstream=to), "/")


def commentd(path, folder, *flags, name="commentd", poll_s=0.005, ready="/ready"):
    """A sidecar with these flags, away from any configuration that lies around."""
    folder.mkdir(parents=True)
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("COMMENTD_", "PYWEIXIN_"))}
    env |= {"HOME": str(folder), "XDG_STATE_HOME": str(folder), "XDG_CONFIG_HOME": str(folder)}
    args = [path, "serve", "--port", port, *flags]
    return running(Server(name, port, args, folder, env), ready, poll_s)
