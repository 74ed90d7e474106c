"""A ledger of a million settled deliveries beside an empty one, and its sweep."""

import contextlib
import random
import shutil
import sqlite3
from types import SimpleNamespace as Size

from shared import Refused, say
from shared.servers import commentd

from . import load, upstreams

CONNECTIONS, RATE, SWEEP_RATE, LINES_A_CALL = 64, 2000, 500, 40
#: When the last delivery of the full ledger was settled, in hours ago, and over how many hours all were.
FILLED = ("--hours-ago", 2, "--over-hours", 20)
#: A retention under which all of it stays, and one under which all of it goes, in hours.
KEEPS, SWEEPS = 87_600, 1
FULL = Size(calls=20_000, rate_seconds=5, sweep_seconds=20, most_sweeps=5)
QUICK = Size(calls=4_000, rate_seconds=2, sweep_seconds=5, most_sweeps=2)


def rows(ledger):
    """How many deliveries a closed ledger holds, in however many tables."""
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        named = "SELECT name FROM sqlite_master WHERE type = 'table' AND name GLOB 'deliveries*'"
        return sum(file.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0] for (name,) in file.execute(named))


def fill(bench, ledger):
    # As fast a build as need be: it isn't what is measured.
    args = ["cargo", "run", "--release", "--locked", "--quiet", "--package", "commentd-benches", "--bin", "commentd-fill"]
    say(f"{bench.rows:,} deliveries, into a ledger")
    bench.results.must_run("fill", [*args, "--", "--ledger", ledger, "--rows", bench.rows, *FILLED])
    # The log was copied into it when it was closed.
    return ledger.stat().st_size / bench.rows


@contextlib.contextmanager
def sidecar(bench, build, ledger, upstream, retention_hours):
    folder = bench.scratch / "subject"
    flags = ["--channel", "generic", "--channel-url", f"http://{upstream}", "--retention-hours", retention_hours]
    with commentd(build.path, folder, "--ledger", ledger or folder / "ledger.db", *flags) as server:
        yield server
    shutil.rmtree(folder)


def round_of(bench, size, build, ledger, upstream):
    """One ledger in use: requests a second, then latencies at a fixed rate."""
    calls = max(size.calls, RATE * size.rate_seconds)
    how = {"lines": load.keyed_file(bench.scratch / "keyed.jsonl", LINES_A_CALL * calls), "connections": CONNECTIONS}
    with sidecar(bench, build, ledger, upstream, KEEPS) as server:
        url = f"http://{server}/api/comment"
        load.oha(bench, url, calls=size.calls // 10, **how)
        kept = load.oha(bench, url, calls=size.calls, **how)
        at_rate = load.oha(bench, url, calls=RATE * size.rate_seconds, rate=RATE, **how)
        return at_rate | {"per_second": kept["per_second"], "start_ms": server.ready_ms}


def sweep_of(bench, size, build, ledger, upstream, retention_hours):
    """A steady load beside the sweep, or the same without one where the retention keeps all."""
    before, calls = rows(ledger), SWEEP_RATE * size.sweep_seconds
    lines = load.keyed_file(bench.scratch / "keyed.jsonl", LINES_A_CALL * calls)
    with sidecar(bench, build, ledger, upstream, retention_hours) as server:
        url = f"http://{server}/api/comment"
        figures = load.oha(bench, url, lines=lines, calls=calls, rate=SWEEP_RATE, connections=CONNECTIONS)
    # A few of the calls met a used key.
    swept = before + calls - rows(ledger)
    if (retention_hours == SWEEPS) != (swept > 0.02 * calls):
        raise Refused(f"{swept} deliveries were swept under a retention of {retention_hours} h")
    return figures | {"swept_per_second": swept / figures["seconds"]}


def measure(bench):
    size = QUICK if bench.quick else FULL
    fulls = {build: bench.scratch / f"full{number}.db" for number, build in enumerate(bench.builds)}
    first = next(iter(fulls.values()))
    bytes_each = fill(bench, first)
    for other in [*fulls.values()][1:]:
        shutil.copy2(first, other)
    order = [(build, what) for build in bench.builds for what in ("empty", "full")]
    runs = {"kept": {}, "sweep": {}}
    with upstreams.static(bench, bench.scratch / "upstream") as upstream:
        for turn in range(bench.repeats):
            for build, what in random.Random(turn).sample(order, len(order)):
                figures = round_of(bench, size, build, fulls[build] if what == "full" else None, upstream)
                runs["kept"].setdefault(build.subject(what), []).append(figures)
                say(f"round {turn + 1} of {bench.repeats}, {build.subject(what)}: {figures['per_second']:,.0f}/s")
        for _ in range(min(bench.repeats, size.most_sweeps)):
            for build, full in fulls.items():
                for what, hours in (("without", KEEPS), ("with", SWEEPS)):
                    figures = sweep_of(bench, size, build, full, upstream, hours)
                    runs["sweep"].setdefault(build.subject(what), []).append(figures)
                    say(f"{build.subject(what)} a sweep: slowest call {figures['slowest_ms']:.1f} ms")
    return {"rows": bench.rows, "bytes_each": bytes_each, "runs": runs}
