"""Calls by oha, and the proof that they were what they are counted as."""

import http.client
import json
import subprocess

from . import Refused

COMMENT = {
    "v": 1,
    "cmd": "comment",
    "task_id": "bench",
    "sns_id": "14500000000000000001",
    "author": "wx_author",
    "content_hash": "abc",
    "content": "a plain comment of a usual length, posted for a user",
    "deadline_ms": 5000,
}
#: Sent by every client that posts JSON.
JSON = {"Content-Type": "application/json"}


def body(**more):
    return json.dumps({**COMMENT, **more}, separators=(",", ":"))


def ask(port, path, text=None):
    """One call: GET, or POST with a body. Gives status and what the JSON says."""
    caller = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    caller.request("POST" if text else "GET", path, text, JSON if text else {})
    reply = caller.getresponse()
    content = reply.read()
    caller.close()
    return reply.status, content


def oha(context, url, *, text=None, lines=None, calls=None, seconds=None, connections=64, rate=None, keep=True,
        reply_bytes=None, statuses=("200",), timeout_s=300):
    """Runs oha once. Refuses whatever isn't a reply with a status of `statuses`, and replies of another mean size.

    `text` is the body of each call; `lines` a file of which each call takes one line at random. `calls` in all, or
    for `seconds`, waiting for what is under way in the end. With `rate`, latencies count from the moment at which
    oha's timer let a call go, whether or not a connection was free.
    """
    args = [context.oha, "--no-tui", "--no-color", "--output-format", "json", "-m", "POST", "-T", "application/json"]
    args += ["-c", connections, "-d" if lines is None else "-Z", text if lines is None else lines]
    args += ["-n", calls] if calls else ["-z", f"{seconds}s", "-w"]
    args += ["-q", rate, "--latency-correction"] if rate else []
    args += [] if keep else ["--disable-keepalive"]
    args = [str(arg) for arg in [*args, url]]
    try:
        ran = subprocess.run(args, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise Refused(f"oha against {url} didn't end within {timeout_s} s") from None
    if ran.returncode != 0:
        raise Refused(f"oha against {url} failed: {(ran.stderr or ran.stdout)[-500:]}")
    return judged(json.loads(ran.stdout), url, calls=calls, rate=rate, reply_bytes=reply_bytes, statuses=statuses)


def judged(said, url, *, calls=None, rate=None, reply_bytes=None, statuses=("200",)):
    """What oha said, in our words, if it may count."""
    replies = said["statusCodeDistribution"]
    if said["errorDistribution"] or not set(replies) <= set(statuses) or not replies:
        raise Refused(f"{url}: not only replies of {', '.join(statuses)}: {replies} {said['errorDistribution']}")
    count, summary, latency = sum(replies.values()), said["summary"], said["latencyPercentiles"]
    if calls is not None and count != calls:
        raise Refused(f"{url}: {count} replies to {calls} calls")
    size = summary["totalData"] / count
    if reply_bytes is not None and not reply_bytes[0] <= size <= reply_bytes[1]:
        raise Refused(f"{url}: replies of {size:.0f} bytes in the mean, expected {reply_bytes}: other answers?")
    if rate is not None and abs(count / summary["total"] / rate - 1) > 0.03:
        raise Refused(f"{url}: {count / summary['total']:.0f} calls a second instead of {rate}; was it overloaded?")
    return {
        "calls": count,
        "statuses": replies,
        "seconds": summary["total"],
        "per_second": count / summary["total"],
        "p50_ms": 1000 * latency["p50"],
        "p99_ms": 1000 * latency["p99"],
        "p99.9_ms": 1000 * latency["p99.9"],
        "slowest_ms": 1000 * summary["slowest"],
        "reply_bytes": size,
    }
