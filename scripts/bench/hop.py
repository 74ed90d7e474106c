"""commentd as a hop, beside an nginx that only passes on."""

import concurrent.futures
import contextlib
import json
import random
import shutil
import time
from dataclasses import dataclass
from types import SimpleNamespace as Size

from shared import Refused, say
from shared.servers import call, commentd

from . import load, tools, upstreams

CONNECTIONS, RATE, IN_FLIGHT = 64, 2000, 1000
OUTCOMES = ("held", "misplaced", "refused", "not_sent", "unknown")
#: Of the calls with keys at most this share may have repeated one, and so have been answered from the ledger; oha
#: takes each call's line at random: with 80 lines for each call, one call in 160 meets a used key.
MOST_REPLAYS, LINES_A_CALL = 0.01, 80


FULL = Size(seconds=3, rate_seconds=10, keyed_calls=20_000, warm_up_calls=2_000, starts=15, fills=3)
QUICK = Size(seconds=1, rate_seconds=2, keyed_calls=4_000, warm_up_calls=500, starts=3, fills=1)


@dataclass(frozen=True)
class Subject:
    """What is called: `direct`, `nginx`, or a build of commentd as the kind says."""

    kind: str
    build: object = None

    @property
    def name(self):
        return self.build.subject(self.kind) if self.build else self.kind

    @property
    def is_keyed(self):
        return self.kind == "durable, keys"

    def start(self, bench, folder, upstream):
        if self.kind == "direct":
            return contextlib.nullcontext(upstream)
        if self.kind == "nginx":
            return upstreams.proxy(bench, folder, upstream)
        ledger = folder / "ledger.db" if self.kind.startswith("durable") else "memory"
        mock = ["--mode", "mock", "--latency-ms", 0, "--jitter-ms", 0]
        flags = mock if self.kind == "mock" else ["--channel", "generic", "--channel-url", f"http://{upstream}"]
        return commentd(self.build.path, folder, "--ledger", ledger, *flags, name=self.name)


@dataclass(frozen=True)
class Way:
    """A way to call."""

    name: str
    comments: int = 1
    connections: int = CONNECTIONS
    keep: bool = True
    rate: int | None = None

    @property
    def path(self):
        return "/api/comment" if self.comments == 1 else "/api/comment/batch"

    @property
    def text(self):
        return load.body() if self.comments == 1 else load.batch(self.comments)

    def subjects(self, everyone):
        """Batches are commentd's own: the static upstream doesn't know them."""
        return [one for one in everyone if self.comments == 1 or (one.build and not one.is_keyed)]


WAYS = (
    Way("kept"),
    Way("new", keep=False),
    Way("rate", rate=RATE),
    Way("batch 10", comments=10),
    # By default no more than 1024 deliveries may be under way.
    Way("batch 1000", comments=1000, connections=1),
)


def probe(server, way):
    """One call by hand. The reply must say that all was delivered; gives between which sizes replies may be."""
    status, content = call(server.port, way.path, way.text)
    said = json.loads(content)
    data = said["data"]
    is_good = data["outcome"] == "delivered" if way.comments == 1 else data["succeeded"] == way.comments
    if status != 200 or said["ok"] is not True or not is_good:
        raise Refused(f"{server.name} answered {status}: {content[:500]!r}")
    # Times in replies have more digits under load, and keys of the caller's are shorter than ours.
    return 0.9 * len(content) - 16, 1.1 * len(content) + 16


def check_outcomes(server):
    """What was answered 200 may still not have been delivered."""
    for outcome in OUTCOMES:
        status, content = call(server.port, f"/api/deliveries?outcome={outcome}&limit=1")
        if status != 200 or json.loads(content)["data"]["deliveries"]:
            raise Refused(f"{server.name}: not all was delivered: {content[:500]!r}")


def run(bench, size, subject, way, upstream, lines):
    """One subject called in one way, on a fresh ledger: the figures of one round."""
    folder = bench.scratch / "subject"
    with subject.start(bench, folder, upstream) as server:
        url = f"http://{server}{way.path}"
        how = {"connections": way.connections, "keep": way.keep, "reply_bytes": probe(server, way)}
        load.oha(bench, url, text=way.text, calls=max(way.connections, size.warm_up_calls // way.comments), **how)
        if way.rate:
            how |= {"calls": way.rate * size.rate_seconds, "rate": way.rate}
        else:
            how |= {"calls": size.keyed_calls} if subject.is_keyed else {"seconds": size.seconds}
        how |= {"lines": lines} if subject.is_keyed else {"text": way.text}
        clock = lambda: (upstreams.seen(upstream), server.cpu_s(), upstream.cpu_s(), tools.children_s(),
                         tools.busy_s(), time.perf_counter())
        before = clock()
        figures = load.oha(bench, url, **how)
        seen, used, next_used, clients, busy, wall = (now - then for now, then in zip(clock(), before))
        comments = figures["calls"] * way.comments
        ours = clients + used + (next_used if subject.kind != "direct" else 0)
        figures |= {
            "comments_per_second": comments / figures["seconds"], "cpu_s_per_100k": used / comments * 1e5,
            "peak_mb": server.memory_bytes() / 1e6, "others": max(0.0, busy - ours) / (wall * tools.cores()),
        }
        share = seen / comments
        if subject.kind != "mock" and not (1 - MOST_REPLAYS if subject.is_keyed else 1) <= share <= 1:
            raise Refused(f"{server.name}: {100 * share:.2f} % of {comments} comments reached the upstream")
        if subject.build:
            check_outcomes(server)
    shutil.rmtree(folder, ignore_errors=True)
    return figures


def start_of(bench, build, upstream):
    """From the start of the process to its first 200 on /ready, with a ledger file that it has to make."""
    folder = bench.scratch / "start"
    flags = ["--ledger", folder / "ledger.db", "--channel", "generic", "--channel-url", f"http://{upstream}"]
    with commentd(build.path, folder, *flags, poll_s=0.0002) as server:
        figures = {"start_ms": server.ready_ms}
    shutil.rmtree(folder)
    return figures


def memory_of(bench, build, _):
    """What is resident at the start, and while 1,000 comments of 1 KiB wait for an upstream that answers nothing."""
    folder = bench.scratch / "memory"
    text = load.body(content="x" * 1024, deadline_ms=120_000)
    with concurrent.futures.ThreadPoolExecutor(1) as pool, upstreams.Silent() as silent:
        flags = ["--ledger", folder / "ledger.db", "--channel", "generic", "--channel-url", f"http://{silent}"]
        with commentd(build.path, folder, *flags, "--native-timeout-ms", 120_000, ready="/health") as server:
            figures = {"idle_mb": server.memory_bytes("VmRSS") / 1e6}
            calls = {"text": text, "calls": IN_FLIGHT, "connections": IN_FLIGHT}
            calling = pool.submit(load.oha, bench, f"http://{server}/api/comment", **calls)
            # If the calls end before all are held, there is nothing to wait for: their result says why.
            while silent.held() < IN_FLIGHT and not calling.done():
                time.sleep(0.01)
            figures["in_flight_mb"], held = server.memory_bytes("VmRSS") / 1e6, silent.held()
            silent.__exit__()
            calling.result()
    if held < IN_FLIGHT:
        raise Refused(f"only {held} comments were in flight at once")
    shutil.rmtree(folder)
    return figures


def measure(bench):
    size, builds = QUICK if bench.quick else FULL, bench.builds
    # nginx stands between the others, so that none has the machine's better half for itself.
    kinds = ("memory", "durable, keys", "durable", "mock")
    everyone = [Subject("direct"), Subject("nginx"), *(Subject(kind, build) for build in builds for kind in kinds)]
    most = max(size.keyed_calls, RATE * size.rate_seconds)
    lines = load.keyed_file(bench.scratch / "keyed.jsonl", LINES_A_CALL * most)
    runs = {way.name: {one.name: [] for one in way.subjects(everyone)} for way in WAYS}
    runs |= {what: {build.subject("commentd"): [] for build in builds} for what in ("start", "in flight")}
    fsyncs = []
    with upstreams.static(bench, bench.scratch / "upstream") as upstream:
        for turn in range(bench.repeats):
            fsyncs.append(tools.fsync_ms(bench.scratch))
            for way in WAYS:
                for subject in random.Random(turn).sample(order := way.subjects(everyone), len(order)):
                    figures = run(bench, size, subject, way, upstream, lines)
                    runs[way.name][subject.name].append(figures)
                    say(
                        f"round {turn + 1} of {bench.repeats}, {way.name}, {subject.name}: "
                        f"{figures['comments_per_second']:,.0f}/s, p99 {figures['p99_ms']:.2f} ms "
                        f"(others took {100 * figures['others']:.0f} % of the processor)"
                    )
        say("starts, and memory with comments in flight")
        for what, measured, times in (("start", start_of, size.starts), ("in flight", memory_of, size.fills)):
            for build in list(builds) * times:
                runs[what][build.subject("commentd")].append(measured(bench, build, upstream))
    return {
        "tools": [tools.version([bench.oha, "--version"]), tools.version([bench.nginx, "-v"])],
        "builds": [
            {"name": one.name, "path": str(one.path), "is_dist": one.is_dist, "mb": one.path.stat().st_size / 1e6}
            for one in builds
        ],
        "runs": runs,
        "fsync_ms": fsyncs,
    }
