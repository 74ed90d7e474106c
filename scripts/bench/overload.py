"""Past capacity, in front of an upstream of 50 ms; and deadlines, in front of one that answers after them."""

import contextlib
import json
import shutil
import time
from types import SimpleNamespace as Size

from shared import Refused, say
from shared.servers import call, commentd

from . import load, upstreams

MAX_IN_FLIGHT, UPSTREAM_MS = 64, 50
#: What the arithmetic says: so many deliveries at a time, each as long as the upstream takes.
NOMINAL = MAX_IN_FLIGHT * 1000 // UPSTREAM_MS
#: The load, in shares of the nominal one.
SHARES = (0.9, 1, 2, 3)
#: More than can be in flight, so that a call that is shed doesn't wait for a connection.
CONNECTIONS, WARM_UP_CALLS = 256, 300
#: Where deadlines bind: the upstream answers after them, but before the provider gives up, so that an answer
#: `unknown` is no failure to the breaker.
SLOW_UPSTREAM_MS, DEADLINE_MS, SLOW_IN_FLIGHT = 600, 300, 256
LEDGERS = ("memory", "durable")

FULL, QUICK = Size(seconds=8, most_rounds=3), Size(seconds=3, most_rounds=1)


def run(bench, size, build, ledger, to, rate, in_flight, deadline_ms):
    """A fresh sidecar under calls at one rate: what came of them. Without keys, so that no call repeats another."""
    folder = bench.scratch / "subject"
    flags = ["--channel", "generic", "--channel-url", f"http://{to}", "--max-in-flight", in_flight]
    at = "memory" if ledger == "memory" else folder / "ledger.db"
    with commentd(build.path, folder, "--ledger", at, *flags) as server:
        url, text = f"http://{server}/api/comment", load.body(deadline_ms=deadline_ms)
        load.oha(bench, url, text=load.body(), calls=WARM_UP_CALLS, connections=32)
        used, calls = server.cpu_s(), round(rate * size.seconds)
        how = {"calls": calls, "rate": round(rate), "connections": CONNECTIONS, "from_schedule": False}
        figures = load.oha(bench, url, text=text, statuses=("200", "503"), **how)
        figures |= {"cpu_us_a_call": 1e6 * (server.cpu_s() - used) / calls, "peak_mb": server.memory_bytes() / 1e6}
        figures["late_ms"] = figures["accepted_p99.9_ms"] - deadline_ms
        # Each call that was answered 200 was delivered, if perhaps after its deadline: nothing may stay under way.
        time.sleep(2 * SLOW_UPSTREAM_MS / 1000)
        status, content = call(server.port, "/api/deliveries?outcome=unknown&limit=1")
        if status != 200 or json.loads(content)["data"]["deliveries"]:
            raise Refused(f"{server.name}: not all was delivered: {content[:500]!r}")
    shutil.rmtree(folder)
    return figures


def measure(bench):
    size, build = QUICK if bench.quick else FULL, bench.builds[0]
    runs = {ledger: {} for ledger in LEDGERS} | {"deadline": {}}
    with contextlib.ExitStack() as stack:
        start = lambda name, ms: stack.enter_context(upstreams.waiting(build, bench.scratch / name, ms))
        usual, slow = start("upstream", UPSTREAM_MS), start("slow", SLOW_UPSTREAM_MS)
        for turn in range(min(bench.repeats, size.most_rounds)):
            for ledger in LEDGERS:
                for share in SHARES:
                    figures = run(bench, size, build, ledger, usual, share * NOMINAL, MAX_IN_FLIGHT, 1000)
                    runs[ledger].setdefault(f"{share}×", []).append(figures)
                    say(f"round {turn + 1}, {ledger}, {share}× the load: {figures['goodput']:,.0f} delivered a second")
                rate = 3 * SLOW_IN_FLIGHT * 1000 / SLOW_UPSTREAM_MS
                figures = run(bench, size, build, ledger, slow, rate, SLOW_IN_FLIGHT, DEADLINE_MS)
                runs["deadline"].setdefault(ledger, []).append(figures)
                say(f"deadlines, {ledger}: the latest thousandth {figures['late_ms']:.1f} ms late")
    return {"nominal": NOMINAL, "runs": runs}
