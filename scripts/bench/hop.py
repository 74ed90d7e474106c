"""commentd as a hop, beside an nginx that only passes on: the measuring. hop_page tells of it."""

import concurrent.futures
import contextlib
import json
import random
import resource
import shutil
import time
from dataclasses import dataclass

from . import Refused, deliveries, load, machine, servers
from .context import say
from .hop_page import TITLE, goals, section
from .holding import Holding

__all__ = ["TITLE", "goals", "measure", "section"]

CONNECTIONS = 64
RATE = 2000
IN_FLIGHT = 1000
#: Of the calls with keys at most this share may have repeated one, and so have been answered from the ledger.
MOST_REPLAYS = 0.01
#: oha takes each call's line at random: with 80 lines for each call, one call in 160 meets a used key.
LINES_A_CALL = 80


@dataclass(frozen=True)
class Size:
    """How long everything takes."""

    seconds: float
    rate_seconds: int
    keyed_calls: int
    warm_up_calls: int
    starts: int
    flights: int


FULL = Size(seconds=3, rate_seconds=10, keyed_calls=20_000, warm_up_calls=2_000, starts=15, flights=3)
QUICK = Size(seconds=1, rate_seconds=2, keyed_calls=4_000, warm_up_calls=500, starts=3, flights=1)


@dataclass(frozen=True)
class Subject:
    """What is called. `kind` is its name without that of its build."""

    kind: str
    build: object = None
    keyed: bool = False

    @property
    def name(self):
        return self.build.subject(self.kind) if self.build else self.kind

    @property
    def durable(self):
        return self.kind.startswith("durable")

    def start(self, context, folder, upstream):
        """The server, from ready to ended."""
        if self.kind == "direct":
            return contextlib.nullcontext(upstream)
        if self.kind == "nginx":
            return servers.proxy(context, folder, upstream)
        ledger = folder / "ledger.db" if self.durable else "memory"
        flags = ["--mode", "mock", "--latency-ms", 0, "--jitter-ms", 0]
        if self.kind != "mock":
            flags = ["--channel", "generic", "--channel-url", f"http://{upstream}"]
        return servers.commentd(self.build.path, folder, "--ledger", ledger, *flags, name=self.name)


@dataclass(frozen=True)
class Figure:
    """A way to call."""

    name: str
    path: str = "/api/comment"
    comments: int = 1
    connections: int = CONNECTIONS
    keep: bool = True
    rate: int | None = None

    def subjects(self, all_of_them):
        """Batches are commentd's own: the static upstream doesn't know them."""
        return [one for one in all_of_them if self.comments == 1 or (one.build and not one.keyed)]

    def text(self):
        if self.comments == 1:
            return load.body()
        said = {**load.COMMENT, "cmd": "batch_comment", "concurrency": 20, "deadline_ms": 60_000}
        del said["content"]
        return json.dumps({**said, "comments": [f"{load.COMMENT['content']} {n}" for n in range(self.comments)]})


FIGURES = (
    Figure("kept"),
    Figure("new", keep=False),
    Figure("rate", rate=RATE),
    Figure("batch 10", "/api/comment/batch", comments=10),
    # By default no more than 1024 deliveries may be under way.
    Figure("batch 1000", "/api/comment/batch", comments=1000, connections=1),
)


def subjects(builds):
    """nginx stands between the others, so that none has the machine's better half for itself."""
    found = [Subject("direct"), Subject("nginx")]
    for build in builds:
        found += [Subject("memory", build), Subject("durable, keys", build, keyed=True), Subject("durable", build)]
        found += [Subject("mock", build)]
    return found


def keys_file(context, size):
    """A body a line, each with a key of its own."""
    file = context.scratch / "keyed.jsonl"
    before, after = load.body(idempotency_key="KEY").split("KEY")
    most = max(size.keyed_calls, RATE * size.rate_seconds)
    with open(file, "w") as out:
        out.writelines(f"{before}k{number:09}{after}\n" for number in range(LINES_A_CALL * most))
    return file


def probe(server, figure):
    """One call by hand. The reply must say that all was delivered; gives what replies may measure."""
    status, content = load.ask(server.port, figure.path, figure.text())
    said = json.loads(content)
    data = said["data"]
    good = data["succeeded"] == data["total"] == figure.comments if figure.comments > 1 else (
        data["outcome"] == "delivered"
    )
    if status != 200 or said["ok"] is not True or not good:
        raise Refused(f"{server.name} answered {status}: {content[:500]!r}")
    # Times in replies have more digits under load, and keys of the caller's are shorter than ours.
    return 0.9 * len(content) - 16, 1.1 * len(content) + 16


def check_outcomes(server):
    """What was answered 200 may still not have been delivered."""
    for outcome, content in deliveries.known(server).items():
        if outcome != "delivered":
            raise Refused(f"{server.name}: deliveries that came to {outcome}: {content[:500]!r}")


def run(context, size, subject, figure, upstream, lines):
    """One subject called in one way, on a fresh ledger: the figures of one round."""
    folder = context.scratch / "subject"
    average = machine.load_average()
    with subject.start(context, folder, upstream) as server:
        url = f"http://{server}{figure.path}"
        expected = probe(server, figure)
        how = {"connections": figure.connections, "keep": figure.keep, "reply_bytes": expected}
        warm_up = max(figure.connections, size.warm_up_calls // figure.comments)
        load.oha(context, url, text=figure.text(), calls=warm_up, **how)
        seen, used, next_used = servers.seen(upstream), server.cpu_s(), upstream.cpu_s()
        client, busy, clock = children_s(), machine.busy_s(), time.perf_counter()
        if subject.keyed:
            how["lines"] = lines
        else:
            how["text"] = figure.text()
        if figure.rate:
            how |= {"calls": figure.rate * size.rate_seconds, "rate": figure.rate}
        elif subject.keyed:
            how["calls"] = size.keyed_calls
        else:
            how["seconds"] = size.seconds
        figures = load.oha(context, url, **how)
        clock, busy = time.perf_counter() - clock, machine.busy_s() - busy
        used, next_used = server.cpu_s() - used, upstream.cpu_s() - next_used
        ours = children_s() - client + used + (0 if subject.kind == "direct" else next_used)
        comments = figures["calls"] * figure.comments
        figures |= {
            "comments": comments,
            "comments_per_second": comments / figures["seconds"],
            "cpu_s_per_100k": used / comments * 100_000,
            "upstream_cpu_s_per_100k": next_used / comments * 100_000,
            "peak_bytes": server.memory_bytes(),
            "load_average": average,
            "others": max(0.0, busy - ours) / (clock * machine.cores()),
        }
        if subject.kind != "mock":
            figures["sent_on"] = sent_on(server, upstream, seen, comments, subject.keyed)
        if subject.build:
            check_outcomes(server)
    if subject.durable:
        held = deliveries.recorded(folder / "ledger.db")
        wanted = (1 + warm_up) * figure.comments + round(comments * figures["sent_on"])
        if held != {"delivered": wanted}:
            raise Refused(f"{subject.name}: the ledger holds {held}, and {wanted} deliveries were expected")
    if folder.exists():
        shutil.rmtree(folder)
    return figures


def children_s():
    """Processor seconds of the load clients that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def sent_on(server, upstream, before, comments, keyed):
    """The share of comments that reached the upstream: all, but for those whose key was used before."""
    share = (servers.seen(upstream) - before) / comments
    if share > 1 or share < (1 - MOST_REPLAYS if keyed else 1):
        raise Refused(f"{server.name}: {100 * share:.2f} % of {comments} comments reached the upstream")
    return share


def start_ms(context, build, turn, upstream):
    """From the start of the process to its first 200 on /ready, with a durable ledger that it has to make."""
    folder = context.scratch / f"start-{turn}"
    flags = ["--ledger", folder / "ledger.db", "--channel", "generic", "--channel-url", f"http://{upstream}"]
    with servers.commentd(build.path, folder, *flags, poll_s=0.0002) as server:
        ready_ms = server.ready_ms
    shutil.rmtree(folder)
    return ready_ms


def in_flight(context, build, turn):
    """What is resident at the start, and while 1,000 comments of 1 KiB wait for the upstream."""
    folder = context.scratch / f"flight-{turn}"
    with contextlib.ExitStack() as stack:
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(1))
        upstream = stack.enter_context(Holding())
        flags = ["--ledger", folder / "ledger.db", "--channel", "generic", "--channel-url", f"http://{upstream}"]
        server = stack.enter_context(servers.commentd(build.path, folder, *flags, "--native-timeout-ms", 120_000))
        idle = server.memory_bytes("VmRSS")
        text = load.body(content="x" * 1024, deadline_ms=120_000)
        calls = {"text": text, "calls": IN_FLIGHT, "connections": IN_FLIGHT}
        calling = pool.submit(load.oha, context, f"http://{server}/api/comment", **calls)
        # If the calls end before all are held, there is nothing to wait for: their result says why.
        while upstream.held < IN_FLIGHT and not calling.done():
            time.sleep(0.01)
        resident = server.memory_bytes("VmRSS")
        held = upstream.held
        upstream.release()
        calling.result()
        if held != IN_FLIGHT:
            raise Refused(f"only {held} comments were in flight at once")
        check_outcomes(server)
    shutil.rmtree(folder)
    return {"idle_bytes": idle, "bytes": resident}


def measure(context):
    size = QUICK if context.quick else FULL
    everyone, builds = subjects(context.builds), context.builds
    lines = keys_file(context, size)
    runs = {figure.name: {one.name: [] for one in figure.subjects(everyone)} for figure in FIGURES}
    fsyncs = []
    with servers.upstream(context, context.scratch / "upstream") as upstream:
        for turn in range(context.repeats):
            fsyncs.append(machine.fsync_ms(context.scratch))
            for figure in FIGURES:
                order = figure.subjects(everyone)
                random.Random(turn).shuffle(order)
                for subject in order:
                    figures = run(context, size, subject, figure, upstream, lines)
                    runs[figure.name][subject.name].append(figures)
                    say(
                        f"round {turn + 1} of {context.repeats}, {figure.name}, {subject.name}: "
                        f"{figures['comments_per_second']:,.0f}/s, p99 {figures['p99_ms']:.2f} ms "
                        f"(load average before {figures['load_average']:.2f}, others {100 * figures['others']:.0f} %)"
                    )
    lines.unlink()
    say("starts, and memory with comments in flight")
    starts = {build.name: [] for build in builds}
    flights = {build.name: [] for build in builds}
    # Ready is who has a channel that answers.
    with servers.upstream(context, context.scratch / "upstream-of-starts") as upstream:
        for turn in range(size.starts):
            for build in builds:
                starts[build.name].append(start_ms(context, build, turn, upstream))
    for turn in range(size.flights):
        for build in builds:
            flights[build.name].append(in_flight(context, build, turn))
    return {
        "settings": {
            "connections": CONNECTIONS,
            "rate": RATE,
            "in_flight": IN_FLIGHT,
            "seconds": size.seconds,
            "rate_seconds": size.rate_seconds,
            "keyed_calls": size.keyed_calls,
        },
        "tools": {"oha": machine.version([context.oha, "--version"]), "nginx": machine.version([context.nginx, "-v"])},
        "subjects": [
            {"name": one.name, "kind": one.kind, "build": one.build.name if one.build else None} for one in everyone
        ],
        "builds": [
            {
                "name": one.name, "path": str(one.path), "dist": one.dist, "bytes": one.path.stat().st_size,
                "how": (one.path.parent / "how").read_text().split()[-1] if one.dist else "",
            }
            for one in builds
        ],
        "runs": runs,
        "fsync_ms": fsyncs,
        "start_ms": starts,
        "in_flight": flights,
    }
