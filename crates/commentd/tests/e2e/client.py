"""The Python client that exists: how it calls a sidecar, and what it makes of the replies.

    client.py http://127.0.0.1:19080 < calls.jsonl

A call is a line of JSON: {"comments": [...]} and what it shares (sns_id, author, content_hash, reply_to, provider,
concurrency), or {"content": "..."} for a single comment. For each, a line of JSON says what the client read.

One connection a call; 1200 ms for a whole batch; no key; a reply other than 2xx is lost with its body; and
whatever it doesn't take for a success, it would send again by a way of its own ("sends_again", by index).
"""

import json
import socket
import sys
import time
import urllib.error
import urllib.request
import uuid

TIMEOUT_S = 1.2
SHARED = ("sns_id", "author", "content_hash", "reply_to")


def request_body(call):
    single = "content" in call
    body = {"v": 1, "cmd": "comment" if single else "batch_comment", "task_id": uuid.uuid4().hex}
    body.update({field: str(call.get(field, "")) for field in SHARED})
    body["content" if single else "comments"] = call["content"] if single else call["comments"]
    for field in ("provider", "concurrency"):
        if field in call:
            body[field] = call[field]
    return body


def post(base_url, path, body):
    """The reply's JSON, or None and the reason why there is none."""
    request = urllib.request.Request(
        base_url + path,
        data=json.dumps(body, ensure_ascii=False).encode("utf-8"),
        headers={"Content-Type": "application/json", "Connection": "close"},
        method="POST",
    )
    # Never by way of a proxy that the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=TIMEOUT_S) as response:
            return json.loads(response.read().decode("utf-8")), ""
    except urllib.error.HTTPError as error:
        return None, "http %d" % error.code
    except (socket.timeout, TimeoutError):
        return None, "timeout"
    except urllib.error.URLError as error:
        timed_out = isinstance(error.reason, (socket.timeout, TimeoutError))
        return None, "timeout" if timed_out else "connection"
    except (ValueError, OSError) as error:
        return None, "unreadable: %s" % error


def says_yes(reply):
    if "ok" in reply:
        return bool(reply["ok"])
    message = str(reply.get("message") or reply.get("msg") or "").strip().lower()
    return reply.get("code") == 200 and message not in ("failed", "fail", "error")


def read_item(result, flag):
    return {
        "success": bool(result.get(flag, False)),
        "latency_ms": int(result.get("latency_ms") or 0),
        "error_code": int(result.get("error_code") or 0),
        "error_message": str(result.get("error_message") or ""),
        "method": str(result.get("method") or ""),
    }


def read_items(call, reply):
    """One for each comment, matched by index; what has no result counts as failed."""
    data = reply.get("data") or {}
    if "content" in call:
        return [read_item({**reply, "success": says_yes(reply), "method": data.get("method")}, "success")]
    results = data.get("results") or []
    return [
        read_item(results[index] if index < len(results) else {}, "success")
        for index in range(len(call["comments"]))
    ]


def ask(base_url, call):
    body = request_body(call)
    path = "/api/comment" if "content" in call else "/api/comment/batch"
    start = time.monotonic()
    reply, error = post(base_url, path, body)
    elapsed_ms = round((time.monotonic() - start) * 1000)
    count = 1 if "content" in call else len(call["comments"])
    items = [] if reply is None else read_items(call, reply)
    failed = [i for i in range(count) if reply is None or not items[i]["success"]]
    return {
        "task_id": body["task_id"],
        "error": error,
        "elapsed_ms": elapsed_ms,
        "says_yes": reply is not None and says_yes(reply),
        "items": items,
        "sends_again": failed,
        "reply": reply,
    }


def main():
    base_url = sys.argv[1].rstrip("/")
    for line in sys.stdin:
        if line.strip():
            print(json.dumps(ask(base_url, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
