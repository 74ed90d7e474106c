"""What stands behind a sidecar that is measured, and the nginx that it is compared with."""

import os
import socket
from pathlib import Path

from shared.servers import Server, call, commentd, free_port

REPLY = (
    '{"v":1,"ok":true,"error_code":0,"error_message":"","latency_ms":1,"task_id":"",'
    '"data":{"outcome":"delivered","comment_id":"c1"}}'
)
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
    upstream next {{ server {to}; keepalive 256; keepalive_requests 100000000; keepalive_timeout 600s; }}
    server {{ listen 127.0.0.1:{port} backlog=4096; {locations} }}
}}
"""
ANSWERS = """
    location = /seen { stub_status; }
    location / { default_type application/json; return 200 '%s'; }
""" % REPLY
PASSES_ON = 'location / { proxy_pass http://next; proxy_http_version 1.1; proxy_set_header Connection ""; }'


def nginx(bench, name, folder, locations, to="127.0.0.1:1", **how):
    folder.mkdir(parents=True)
    port = free_port()
    # As root its workers would be nobody, who may not enter our folder.
    user = "user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(
        NGINX.format(user=user, folder=folder, port=port, to=to, locations=locations)
    )
    args = [bench.nginx, "-e", folder / "error.log", "-c", folder / "nginx.conf"]
    return Server(name, port, args, folder, **how)


def static(bench, folder):
    """An nginx that answers every call with the same v1 reply and counts the calls."""
    return nginx(bench, "upstream", folder, ANSWERS, ready="/seen")


def proxy(bench, folder, to):
    """An nginx that passes everything on, over connections that it keeps."""
    return nginx(bench, "nginx", folder, PASSES_ON, to, ready="/")


def waiting(build, folder, latency_ms):
    """Another commentd, which does nothing but wait."""
    flags = ["--mode", "mock", "--ledger", "memory", "--latency-ms", latency_ms, "--jitter-ms", 0]
    return commentd(build.path, folder, *flags, "--max-in-flight", 100_000, name="upstream")


def seen(upstream):
    """How many requests a static upstream has answered, those that asked for it aside: for differences."""
    words = call(upstream.port, "/seen")[1].split()
    upstream.asked = getattr(upstream, "asked", 0) + 1
    # "server accepts handled requests" stands above three numbers.
    return int(words[words.index(b"requests") + 3]) - upstream.asked


class Silent:
    """A port that takes connections and answers none: whatever is sent there stays in flight."""

    def __enter__(self):
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
        self.port = self._listener.getsockname()[1]
        return self

    def __exit__(self, *_):
        self._listener.close()

    def __str__(self):
        return f"127.0.0.1:{self.port}"

    def held(self):
        """How many connections lead to it: each carries one comment."""
        rows = (row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:])
        # Remote address, and 01 for established.
        return sum(row[2].endswith(f":{self.port:04X}") and row[3] == "01" for row in rows)
