"""Calls by oha, and the proof that they were what they are counted as."""

import json
import os
import subprocess

from shared import Refused

COMMENT = {
    "v": 1, "cmd": "comment", "task_id": "bench", "sns_id": "14500000000000000001", "author": "wx_author",
    "content_hash": "abc", "content": "a plain comment of a usual length, posted for a user", "deadline_ms": 5000,
}


def body(**more):
    return json.dumps({**COMMENT, **more}, separators=(",", ":"))


def batch(comments):
    said = {**COMMENT, "cmd": "batch_comment", "concurrency": 20, "deadline_ms": 60_000}
    text = said.pop("content")
    return json.dumps({**said, "comments": [f"{text} {number}" for number in range(comments)]})


def keyed_file(file, lines):
    """A body a line, each with a key of its own that no other run has. Random, for keys that count up lie beside each
    other in an index, and those of most callers don't."""
    before, after = body(idempotency_key="KEY").split("KEY")
    digits = os.urandom(16 * lines).hex()
    with open(file, "w") as out:
        out.writelines(f"{before}{digits[at:at + 32]}{after}\n" for at in range(0, len(digits), 32))
    return file


def oha(bench, url, *, text=None, lines=None, calls=None, seconds=None, connections=64, rate=None, keep=True,
        from_schedule=True, **judging):
    """Runs oha once. `text` is the body of each call; `lines` a file of which each call takes one line at random.
    `calls` in all, or for `seconds`, waiting for what is under way in the end. With `rate`, latencies count from the
    moment at which a call was to leave, whether or not a connection was free, unless that is not `from_schedule`."""
    args = [bench.oha, "--no-tui", "--no-color", "--output-format", "json", "-m", "POST", "-T", "application/json"]
    args += ["--stats-success-breakdown", "-c", connections, *(["-Z", lines] if lines else ["-d", text])]
    args += ["-n", calls] if calls else ["-z", f"{seconds}s", "-w"]
    args += ["-q", rate] if rate else []
    args += ["--latency-correction"] if rate and from_schedule else []
    args += [] if keep else ["--disable-keepalive"]
    try:
        ran = subprocess.run(
            [str(arg) for arg in [*args, url]], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
        )
    except subprocess.TimeoutExpired as error:
        raise Refused(f"oha against {url} didn't end within {error.timeout} s") from None
    if ran.returncode != 0:
        raise Refused(f"oha against {url} failed: {(ran.stderr or ran.stdout)[-500:]}")
    return judged(json.loads(ran.stdout), url, calls=calls, rate=rate if from_schedule else None, **judging)


def judged(said, url, *, calls=None, rate=None, reply_bytes=None, statuses=("200",)):
    """What oha said, in our words, if it may count: only replies with a status of `statuses`, of the expected mean
    size, and at the rate that was asked for."""
    replies = said["statusCodeDistribution"]
    if said["errorDistribution"] or not set(replies) <= set(statuses) or not replies:
        raise Refused(f"{url}: not only replies of {', '.join(statuses)}: {replies} {said['errorDistribution']}")
    count, summary = sum(replies.values()), said["summary"]
    if calls is not None and count != calls:
        raise Refused(f"{url}: {count} replies to {calls} calls")
    size = summary["totalData"] / count
    if reply_bytes is not None and not reply_bytes[0] <= size <= reply_bytes[1]:
        raise Refused(f"{url}: replies of {size:.0f} bytes in the mean, expected {reply_bytes}: other answers?")
    if rate is not None and abs(count / summary["total"] / rate - 1) > 0.03:
        raise Refused(f"{url}: {count / summary['total']:.0f} calls a second instead of {rate}; was it overloaded?")
    figures = {"calls": count, "seconds": summary["total"], "slowest_ms": 1000 * summary["slowest"]}
    for group, name in (("", ""), ("Successful", "accepted_"), ("NotSuccessful", "shed_")):
        latency = said.get(f"latencyPercentiles{group}") or {}
        figures |= {f"{name}{p}_ms": 1000 * latency[p] for p in ("p50", "p99", "p99.9") if latency.get(p) is not None}
    accepted = replies.get("200", 0)
    return figures | {
        "per_second": count / summary["total"], "accepted": accepted, "goodput": accepted / summary["total"],
        "shed_per_second": (count - accepted) / summary["total"],
    }
