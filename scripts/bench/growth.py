"""A ledger of a million settled deliveries beside an empty one, and its sweep: the measuring. growth_page tells of it."""

import contextlib
import json
import os
import random
import shutil
import sqlite3
from dataclasses import dataclass

from . import Refused, deliveries, load, machine, servers
from .context import say
from .growth_page import TITLE, goals, section

__all__ = ["TITLE", "goals", "measure", "section"]

CONNECTIONS = 64
RATE = 2000
#: The load beside which a ledger is swept.
SWEEP_RATE = 500
#: oha takes each call's line at random: with 40 lines for each call, one call in 80 meets a used key.
LINES_A_CALL = 40
#: When the last delivery of the full ledger was settled, in hours ago, and over how many hours all were.
FILLED = ("--hours-ago", 2, "--over-hours", 20)
#: A retention under which all of it stays, and one under which all of it goes, in hours.
KEEPS, SWEEPS = 87_600, 1


@dataclass(frozen=True)
class Size:
    """How long everything takes."""

    calls: int
    warm_up_calls: int
    rate_seconds: int
    sweep_seconds: int
    most_sweeps: int


FULL = Size(calls=20_000, warm_up_calls=2_000, rate_seconds=5, sweep_seconds=20, most_sweeps=5)
QUICK = Size(calls=4_000, warm_up_calls=500, rate_seconds=2, sweep_seconds=5, most_sweeps=2)


def keys_file(context, calls):
    """A body a line, each with a key of its own that no other run has. Random, for keys that count up lie beside each
    other in an index, and those of most callers don't."""
    file, count = context.scratch / "keyed.jsonl", LINES_A_CALL * calls
    before, after = load.body(idempotency_key="KEY").split("KEY")
    digits = os.urandom(16 * count).hex()
    with open(file, "w") as out:
        out.writelines(f"{before}{digits[at:at + 32]}{after}\n" for at in range(0, len(digits), 32))
    return file


def settled(ledger):
    """How many deliveries a closed ledger holds that aren't unknown or open; others are refused."""
    held = deliveries.recorded(ledger)
    if set(held) - {"delivered"}:
        raise Refused(f"the ledger holds {held}")
    return held.get("delivered", 0)


def fill(context, ledger):
    # As fast a build as need be: it isn't what is measured.
    filler = context.build("--package", "commentd-benches", "--bin", "commentd-fill", profile="release")
    say(f"{context.rows:,} deliveries, into a ledger")
    said = context.command("fill", [filler / "commentd-fill", "--ledger", ledger, "--rows", context.rows, *FILLED])
    figures = json.loads(said)
    # The log was copied into it when it was closed.
    return figures | {"bytes": ledger.stat().st_size}


def start(build, folder, ledger, upstream, retention_hours):
    flags = ["--channel", "generic", "--channel-url", f"http://{upstream}", "--retention-hours", retention_hours]
    return servers.commentd(build.path, folder, "--ledger", ledger, *flags)


def round_of(context, size, build, ledger, upstream):
    """One ledger in use: requests a second, then latencies at a fixed rate."""
    folder = context.scratch / "subject"
    ledger = ledger or folder / "ledger.db"
    lines = keys_file(context, max(size.calls, RATE * size.rate_seconds))
    with start(build, folder, ledger, upstream, KEEPS) as server:
        url = f"http://{server}/api/comment"
        load.oha(context, url, lines=lines, calls=size.warm_up_calls)
        kept = load.oha(context, url, lines=lines, calls=size.calls, connections=CONNECTIONS)
        rate = load.oha(context, url, lines=lines, calls=RATE * size.rate_seconds, rate=RATE, connections=CONNECTIONS)
        figures = {"ready_ms": server.ready_ms, "kept": kept, "rate": rate, "peak_bytes": server.memory_bytes()}
    figures["rows_after"] = settled(ledger)
    shutil.rmtree(folder)
    return figures


def sweep_of(context, size, build, ledger, upstream, retention_hours):
    """A steady load beside the sweep, or the same without one where the retention keeps all."""
    folder = context.scratch / "subject"
    before, calls = settled(ledger), SWEEP_RATE * size.sweep_seconds
    lines = keys_file(context, calls)
    with start(build, folder, ledger, upstream, retention_hours) as server:
        url = f"http://{server}/api/comment"
        figures = load.oha(context, url, lines=lines, calls=calls, rate=SWEEP_RATE, connections=CONNECTIONS)
    # A few of the calls met a used key.
    figures["swept"] = before + figures["calls"] - settled(ledger)
    if (retention_hours == SWEEPS) != (figures["swept"] > 0.02 * calls):
        raise Refused(f"{figures['swept']} deliveries were swept under a retention of {retention_hours} h")
    shutil.rmtree(folder)
    return figures


def parts_of(ledger):
    """What the pages of a ledger hold, in bytes, by table and index; empty where this SQLite can't tell."""
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        try:
            return dict(file.execute("SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"))
        except sqlite3.OperationalError:
            return {}


def measure(context):
    size, build = QUICK if context.quick else FULL, context.builds[0]
    full = context.scratch / "full.db"
    filled = fill(context, full)
    filled["parts"] = parts_of(full)
    runs, sweeps, fsyncs = {"empty": [], "full": []}, {"without": [], "with": []}, []
    with servers.upstream(context, context.scratch / "upstream") as upstream:
        for turn in range(context.repeats):
            fsyncs.append(machine.fsync_ms(context.scratch))
            order = [("empty", None), ("full", full)]
            random.Random(turn).shuffle(order)
            for name, ledger in order:
                figures = round_of(context, size, build, ledger, upstream)
                runs[name].append(figures)
                say(
                    f"round {turn + 1} of {context.repeats}, {name}: {figures['kept']['per_second']:,.0f}/s, "
                    f"p99 at {RATE}/s {figures['rate']['p99_ms']:.2f} ms"
                )
        for turn in range(min(context.repeats, size.most_sweeps)):
            for name, hours in (("without", KEEPS), ("with", SWEEPS)):
                figures = sweep_of(context, size, build, full, upstream, hours)
                sweeps[name].append(figures)
                say(f"{name} a sweep: slowest {figures['slowest_ms']:.1f} ms, swept {figures['swept']:,}")
    return {
        "settings": {
            "rows": context.rows,
            "connections": CONNECTIONS,
            "rate": RATE,
            "sweep_rate": SWEEP_RATE,
            "sweep_seconds": size.sweep_seconds,
        },
        "filled": filled,
        "runs": runs,
        "sweeps": sweeps,
        "fsync_ms": fsyncs,
    }
