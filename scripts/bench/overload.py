"""Past capacity, in front of an upstream of 50 ms: the measuring. overload_page tells of it."""

import concurrent.futures
import contextlib
import csv
import http.client
import io
import json
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass

from . import Refused, deliveries, load, servers
from .context import say
from .overload_page import TITLE, goals, section

__all__ = ["TITLE", "goals", "measure", "section"]

MAX_IN_FLIGHT = 64
UPSTREAM_MS = 50
#: What the arithmetic says: so many deliveries at a time, each as long as the upstream takes.
NOMINAL = MAX_IN_FLIGHT * 1000 // UPSTREAM_MS
#: The rates among which the peak of goodput is looked for, in shares of the nominal one.
SEARCH = (0.8, 0.9, 0.95, 1.0, 1.1, 1.25)
TIMES = (1, 2, 3)
#: More than can be in flight, so that a call that is shed doesn't wait for a connection.
CONNECTIONS = 256
WARM_UP_CALLS = 200
#: Where deadlines bind: the upstream answers after them, but before the provider gives up, so that an answer
#: `unknown` is no failure to the breaker.
SLOW_UPSTREAM_MS, DEADLINE_MS, SLOW_IN_FLIGHT = 600, 300, 256
ALLOWED_LATE_MS = 20
USUAL_DEADLINE_MS = 1000
LEDGERS = ("memory", "durable")


@dataclass(frozen=True)
class Size:
    """How long everything takes."""

    seconds: int
    search_seconds: int
    most_rounds: int
    asked: int


FULL = Size(seconds=8, search_seconds=4, most_rounds=3, asked=50)
QUICK = Size(seconds=3, search_seconds=2, most_rounds=1, asked=20)


def upstream(context, build, latency_ms, folder):
    """Another commentd, which does nothing but wait."""
    flags = ["--mode", "mock", "--ledger", "memory", "--latency-ms", latency_ms, "--jitter-ms", 0]
    return servers.commentd(build.path, folder, *flags, "--max-in-flight", 100_000, name="upstream")


def calls_of(context, url, text, rate, seconds):
    """Calls at a fixed rate, and for how long they came. Of each call: its status, how long it took from when it was
    sent, in ms, when that was, in s, and whether its connection was made for it."""
    args = [context.oha, "--no-tui", "--no-color", "--output-format", "csv", "-m", "POST", "-T", "application/json"]
    args += ["-d", text, "-c", CONNECTIONS, "-q", rate, "-n", rate * seconds, url]
    began = time.perf_counter()
    ran = subprocess.run(
        [str(arg) for arg in args], capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300
    )
    took = time.perf_counter() - began
    if ran.returncode != 0:
        raise Refused(f"oha against {url} failed: {(ran.stderr or ran.stdout)[-500:]}")
    calls = [
        (
            int(row["status"]), 1000 * float(row["request-duration"]), float(row["request-start"]),
            float(row["DNS+dialup"]) > 0,
        )
        for row in csv.DictReader(io.StringIO(ran.stdout))
    ]
    if len(calls) != rate * seconds:
        raise Refused(f"{url}: {len(calls)} replies to {rate * seconds} calls")
    statuses = {call[0] for call in calls}
    if not statuses <= {200, 503}:
        raise Refused(f"{url}: replies of {statuses}")
    # How long the client was at it, from its first call to the end of its last; `took` has its start, too.
    span = max(start + ms / 1000 for _, ms, start, _ in calls) - min(call[2] for call in calls)
    return calls, min(span, took)


def ask_under_load(port, text, wanted):
    """Calls by hand until so many were shed: what those replies say, and how long they took, in ms."""
    found, times = [], []
    until = time.monotonic() + 20
    while len(found) < wanted and time.monotonic() < until:
        caller = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        began = time.perf_counter()
        caller.request("POST", "/api/comment", text, load.JSON)
        reply = caller.getresponse()
        content = json.loads(reply.read())
        times.append(1000 * (time.perf_counter() - began))
        caller.close()
        if reply.status == 503:
            found.append((reply.headers.get("Retry-After"), content["error_code"], content["ok"]))
        else:
            times.pop()
    wrong = [one for one in found if one != ("1", 61, False)]
    if wrong or not found:
        raise Refused(f"{len(found)} calls by hand were shed, wrongly: {wrong[:3]}")
    return {"shed": len(found), "p50_ms": statistics.median(times)}


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else None


def late(calls, deadline_ms):
    """How many accepted calls were answered later than they may be, and how late the latest 0.1 % were. A connection's
    first call is counted apart: its time has the connecting in it, and that of 255 others, which all come at once."""
    over = [ms - deadline_ms for status, ms, _, is_first in calls if status == 200 and not is_first]
    first = [ms - deadline_ms for status, ms, _, is_first in calls if status == 200 and is_first]
    return {
        "accepted": len(over),
        "late": sum(1 for ms in over if ms > ALLOWED_LATE_MS),
        "p99.9_over_ms": percentile(over, 0.999),
        "worst_over_ms": max(over),
        "first": len(first),
        "first_late": sum(1 for ms in first if ms > ALLOWED_LATE_MS),
    }


def run(context, build, ledger, to, rate, seconds, *, in_flight=MAX_IN_FLIGHT, deadline_ms=USUAL_DEADLINE_MS, ask=0):
    """A fresh sidecar under calls at one rate: what came of them. Without keys, so that no call repeats another."""
    folder = context.scratch / "subject"
    at = "memory" if ledger == "memory" else folder / "ledger.db"
    flags = ["--ledger", at, "--channel", "generic", "--channel-url", f"http://{to}", "--max-in-flight", in_flight]
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        server = stack.enter_context(servers.commentd(build.path, folder, *flags))
        url = f"http://{server}/api/comment"
        load.oha(context, url, text=load.body(), calls=WARM_UP_CALLS, connections=32)
        used, to_used = server.cpu_s(), to.cpu_s()
        asking = pool.submit(ask_under_load, server.port, load.body(), ask) if ask else None
        calls, span = calls_of(context, url, load.body(deadline_ms=deadline_ms), rate, seconds)
        figures = {
            "rate": rate,
            "sent_per_second": len(calls) / span,
            "cpu_s": server.cpu_s() - used,
            "upstream_cpu_s": to.cpu_s() - to_used,
        }
        if asking:
            figures["asked"] = asking.result()
        # Nothing may be under way when outcomes are counted.
        time.sleep(2 * SLOW_UPSTREAM_MS / 1000)
        figures["peak_bytes"] = server.memory_bytes()
        # So each call that was answered 200 was delivered, if perhaps after its deadline.
        if (found := set(deliveries.known(server))) != {"delivered"}:
            raise Refused(f"deliveries came to {found}")
    accepted = [ms for status, ms, *_ in calls if status == 200]
    shed = [ms for status, ms, *_ in calls if status == 503]
    figures |= {
        "calls": len(calls),
        "accepted": len(accepted),
        "shed": len(shed),
        "goodput": len(accepted) / span,
        "accepted_p50_ms": percentile(accepted, 0.5),
        "accepted_p99_ms": percentile(accepted, 0.99),
        "shed_p50_ms": percentile(shed, 0.5),
        "shed_p99_ms": percentile(shed, 0.99),
        "late": late(calls, deadline_ms),
    }
    if ledger == "durable":
        held = deliveries.recorded(at).get("delivered", 0) - WARM_UP_CALLS
        if held != len(accepted) and not ask:
            raise Refused(f"{held} deliveries are recorded, and {len(accepted)} calls were accepted")
    shutil.rmtree(folder)
    return figures


def peak(runs):
    return max(runs, key=lambda run: run["goodput"])


def measure(context):
    size, build = QUICK if context.quick else FULL, context.builds[0]
    rounds = min(context.repeats, size.most_rounds)
    result = {
        "settings": {
            "in_flight": MAX_IN_FLIGHT,
            "upstream_ms": UPSTREAM_MS,
            "nominal": NOMINAL,
            "connections": CONNECTIONS,
            "seconds": size.seconds,
            "slow_upstream_ms": SLOW_UPSTREAM_MS,
            "deadline_ms": DEADLINE_MS,
            "slow_in_flight": SLOW_IN_FLIGHT,
        },
        "search": {},
        "capacity": {},
        "runs": {ledger: {str(times): [] for times in TIMES} for ledger in LEDGERS},
        "deadline": {ledger: [] for ledger in LEDGERS},
        "asked": {},
    }
    with upstream(context, build, UPSTREAM_MS, context.scratch / "upstream") as to:
        for ledger in LEDGERS:
            found = [
                run(context, build, ledger, to, round(share * NOMINAL), size.search_seconds)
                for share in SEARCH
            ]
            result["search"][ledger] = found
            result["capacity"][ledger] = best = peak(found)["goodput"]
            say(f"{ledger}: at most {best:,.0f} delivered a second, at {peak(found)['rate']}/s")
        for turn in range(rounds):
            for ledger in LEDGERS:
                for times in TIMES:
                    rate = round(times * result["capacity"][ledger])
                    figures = run(context, build, ledger, to, rate, size.seconds)
                    result["runs"][ledger][str(times)].append(figures)
                    say(f"round {turn + 1} of {rounds}, {ledger}, {rate}/s: {figures['goodput']:,.0f} delivered a second")
        for ledger in LEDGERS:
            rate = round(TIMES[-1] * result["capacity"][ledger])
            result["asked"][ledger] = run(
                context, build, ledger, to, rate, size.search_seconds, ask=size.asked
            )["asked"]
    with upstream(context, build, SLOW_UPSTREAM_MS, context.scratch / "slow") as to:
        rate = 3 * SLOW_IN_FLIGHT * 1000 // SLOW_UPSTREAM_MS
        for turn in range(rounds):
            for ledger in LEDGERS:
                figures = run(
                    context, build, ledger, to, rate, size.seconds, in_flight=SLOW_IN_FLIGHT,
                    deadline_ms=DEADLINE_MS,
                )
                result["deadline"][ledger].append(figures)
                say(f"deadlines, {ledger}: {figures['late']['late']} of {figures['late']['accepted']} late")
    return result
