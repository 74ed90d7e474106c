"""docs/performance.md from what was kept: which figures stand in which table, and what they should be."""

import statistics
from dataclasses import dataclass, field

from shared import table

PERCENTILES = (("p50, ms", "p50_ms"), ("p99, ms", "p99_ms"), ("p99.9, ms", "p99.9_ms"))
COST = (("CPU s for 100,000", "cpu_s_per_100k"), ("peak, MB", "peak_mb"))

HOP = """What a comment's way through commentd costs, where nginx is the measure of a hop that costs little. All speak
HTTP/1.1 over loopback; **load client, subject and upstream share the processor**, so a rate is what they reach
together. The upstream is an nginx that answers every call with the same words. *direct*: the upstream itself;
*nginx*: one that passes everything on, over connections that it keeps, a worker for each core; *memory*: commentd
with `--ledger memory`; *durable*: with a ledger file; *keys*: each call has a key of its own, some in a hundred of
which come twice; *mock*: commentd answering without a way out, whose timer makes of a latency of 0 up to a millisecond.

A figure is the median of the rounds over all subjects, in brackets the lowest and the highest; *÷* and *less* are taken
round by round. Each run starts its subject anew, on a fresh ledger. It counts only if every reply was a 200, if all
comments reached the upstream, and if the sidecar calls all of them delivered."""
GROWTH = """A full ledger of settled deliveries beside an empty one, in turns, keys from the client (random, as UUIDs
are), 64 connections; latencies at 2,000 a second."""
OVERLOAD = """In front of an upstream that takes 50 ms, with `--max-in-flight 64`: by arithmetic 1,280 comments a second.
*Goodput*: answered 200, and then known to the sidecar as delivered. Each run is of a fresh process."""


@dataclass(frozen=True)
class Table:
    """A table of one way: a row for each subject, a column for each figure, then for each figure over a subject's."""

    way: str
    intro: str
    columns: tuple
    over: str = ""
    ratios: tuple = ()
    differences: tuple = ()


@dataclass(frozen=True)
class Part:
    """A section of the page."""

    title: str
    intro: str
    tables: tuple
    rest: object = field(default=lambda result: [])


@dataclass(frozen=True)
class Goal:
    """What a figure should be and what it must be."""

    what: str
    reached: float | None
    goal: float
    floor: float | None = None
    at_least: bool = False

    def verdict(self):
        if self.reached is None:
            return "can't be told"
        for word, limit in (("goal", self.goal), ("floor", self.floor)):
            if limit is not None and (self.reached >= limit if self.at_least else self.reached <= limit):
                return word
        return "neither"

    def row(self):
        limits = ["–" if one is None else f"{'≥' if self.at_least else '≤'} {number(one)}" for one in (self.goal, self.floor)]
        return [self.what, number(self.reached), *limits, self.verdict()]


def number(value):
    """As many digits as carry something."""
    if value is None:
        return "–"
    return f"{value:,.{0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2}f}"


def spread(values):
    """`median (lowest–highest)`."""
    if not values:
        return "–"
    return f"{number(statistics.median(values))} ({number(min(values))}–{number(max(values))})"


def values(result, way, subject, figure):
    return [run[figure] for run in result["runs"][way].get(subject, []) if run.get(figure) is not None]


def over(result, way, subject, other, figure, how=lambda mine, theirs: mine / theirs):
    """One subject's figure over another's, round by round: neighbours in time saw the same machine."""
    return [how(*pair) for pair in zip(values(result, way, subject, figure), values(result, way, other, figure))]


def less(mine, theirs):
    return mine - theirs


def build_of(subject):
    return f" [{subject.rpartition(' [')[2]}" if subject.endswith("]") else ""


def lines_of(result, one):
    """A table, in Markdown; `over` is of the same build where there is one."""
    rows = []
    for subject in result["runs"][one.way]:
        other = one.over if one.over in result["runs"][one.way] else one.over + build_of(subject)
        row = [subject, *(spread(values(result, one.way, subject, figure)) for _, figure in one.columns)]
        row += [spread(over(result, one.way, subject, other, figure)) for _, figure in one.ratios]
        rows.append(row + [spread(over(result, one.way, subject, other, figure, less)) for _, figure in one.differences])
    head = [one.intro, *(title for title, _ in one.columns), *(f"{title} ÷ {one.over}" for title, _ in one.ratios)]
    return table(head + [f"{title} less {one.over}'s" for title, _ in one.differences], rows) + [""]


def compared(result):
    """Each later build over the first, way by way."""
    first, *others = [build["name"] for build in result["builds"]]
    lines = []
    for name in others:
        rows = []
        for way, figure in (("kept", "per_second"), ("new", "per_second"), ("rate", "p50_ms"), ("rate", "p99_ms"),
                            ("kept", "cpu_s_per_100k"), ("kept", "peak_mb"), ("batch 10", "comments_per_second")):
            row = [f"{way}: {figure}"]
            for kind in ("memory", "durable, keys", "durable", "mock"):
                row.append(spread(over(result, way, f"{kind} [{name}]", f"{kind} [{first}]", figure)))
            rows.append(row)
        lines += [*table([f"{name} ÷ {first}", "memory", "durable, keys", "durable", "mock"], rows), ""]
    return lines


def hop_rest(result):
    lines = [f"- {build['name'] or 'commentd'}: {number(build['mb'])} MB, " + (
        "built by `scripts/dist`" if build["is_dist"] else f"`{build['path']}`") for build in result["builds"]]
    others = [100 * run["others"] for way in result["runs"].values() for runs in way.values() for run in runs if "others" in run]
    return lines + [
        f"- {', '.join(result['tools'])}; other programs took {spread(others)} % of the processor meanwhile",
        f"- fsync of 4 KiB on the disk of the ledgers: {spread(result['fsync_ms'])} ms",
        "",
        "*Start*: from the start of the process to its first 200 on `/ready`, with a ledger file that it has to make. "
        "*In flight*: 1,000 callers on connections of their own, each with a comment of 1 KiB that the upstream has and "
        "doesn't answer, on a ledger file.", "", *compared(result),
    ]


def growth_rest(result):
    each = result["bytes_each"]
    return [
        f"The full ledger has {result['rows']:,} deliveries of 100 bytes of text, **{each:,.0f} bytes each**: "
        f"{each * 10 * 86_400 / 1e9:,.1f} GB for a day of 10 comments a second. The sweep runs beside 500 comments a "
        "second, all of the ledger being due at once.",
        "",
    ]


PARTS = {
    "hop": Part("A hop", HOP, (
        Table("kept", "64 callers, connections kept", (("requests/s", "per_second"), ("p99, ms", "p99_ms"), *COST),
              "nginx", (("requests/s", "per_second"),)),
        Table("new", "a new connection a call", (("requests/s", "per_second"), ("p99, ms", "p99_ms"), COST[0]),
              "nginx", (("requests/s", "per_second"),)),
        Table("rate", "at 2,000 calls a second", PERCENTILES, "direct", differences=PERCENTILES[:2]),
        Table("batch 10", "batches of 10, 64 callers", (("comments/s", "comments_per_second"), COST[0])),
        Table("batch 1000", "batches of 1,000, one caller", (("comments/s", "comments_per_second"), COST[0])),
        Table("start", "start", (("to ready, ms", "start_ms"),)),
        Table("in flight", "resident", (("idle, MB", "idle_mb"), ("1,000 in flight, MB", "in_flight_mb"))),
    ), hop_rest),
    "growth": Part("Growth", GROWTH, (
        Table("kept", "ledger", (("requests/s", "per_second"), *PERCENTILES, ("start, ms", "start_ms")),
              "empty", (("requests/s", "per_second"), ("p99", "p99_ms"))),
        Table("sweep", "a sweep", (*PERCENTILES, ("slowest, ms", "slowest_ms"), ("swept a second", "swept_per_second"))),
    ), growth_rest),
    "overload": Part("Overload", OVERLOAD, (
        *(Table(ledger, f"ledger: {ledger}", (("goodput", "goodput"), ("shed a second", "shed_per_second"),
                ("accepted: p50, ms", "accepted_p50_ms"), ("p99, ms", "accepted_p99_ms"), ("shed: p50, ms", "shed_p50_ms"),
                ("p99, ms", "shed_p99_ms"), ("CPU µs a call", "cpu_us_a_call"), ("peak, MB", "peak_mb")))
          for ledger in ("memory", "durable")),
        Table("deadline", "deadline of 300 ms, upstream of 600 ms", (("accepted", "accepted"),
              ("p99.9 after the deadline, ms", "late_ms"))),
    )),
}


def median(found):
    return statistics.median(found) if found else None


def goals(kept):
    """What was measured, beside what it should be."""
    found = []
    if hop := kept.get("hop"):
        for build in hop["builds"]:
            tag = f" [{build['name']}]" if build["name"] else ""

            def of(way, subject, figure):
                return median(values(hop, way, subject + tag, figure))

            for kind, goal, floor in (("memory", 1.0, 0.65), ("durable, keys", 0.5, 0.35), ("durable", 0.5, 0.35)):
                reached = median(over(hop, "kept", kind + tag, "nginx", "per_second"))
                found.append(Goal(f"requests/s ÷ nginx's: {kind}{tag}", reached, goal, floor, at_least=True))
            for percentile in ("p50_ms", "p99_ms"):
                nginx = median(over(hop, "rate", "nginx", "direct", percentile, less))
                added = median(over(hop, "rate", f"memory{tag}", "direct", percentile, less))
                # Where nginx added nothing that could be told from noise, there is no ratio.
                ratio = added / nginx if nginx > 0 else None
                found.append(Goal(f"added {percentile[:3]} ÷ nginx's: memory{tag}", ratio, 1.5, 2.5))
            found.append(Goal(f"MB resident, 1,000 in flight{tag}", of("in flight", "commentd", "in_flight_mb"), 30, 60))
            found.append(Goal(f"ms from start to ready{tag}", of("start", "commentd", "start_ms"), 20, 50))
            if build["is_dist"]:
                found.append(Goal("MB of the `dist` binary", build["mb"], 20, 30))
    if growth := kept.get("growth"):
        for subject in (one for one in growth["runs"]["kept"] if one.startswith("full")):
            tag = build_of(subject)
            reached = median(over(growth, "kept", subject, f"empty{tag}", "per_second"))
            found.append(Goal(f"requests/s: full ledger ÷ empty{tag}", reached, 0.9, 0.75, at_least=True))
            slowest = max(values(growth, "sweep", f"with{tag}", "slowest_ms"))
            found.append(Goal(f"ms of the slowest call beside a sweep{tag}", slowest, 10, 20))
    if overload := kept.get("overload"):
        for ledger in ("memory", "durable"):
            goodputs = {share: median(values(overload, ledger, share, "goodput")) for share in overload["runs"][ledger]}
            share = goodputs["3×"] / max(goodputs.values())
            found.append(Goal(f"goodput at 3× the load ÷ its peak: {ledger}", share, 0.9, at_least=True))
            late = max(values(overload, "deadline", ledger, "late_ms"))
            found.append(Goal(f"ms after the deadline, p99.9 at 3×: {ledger}", late, 20))
    return found


def document(results):
    """`results`: a shared.results.Results with what each part kept."""
    kept = {name: results.get(name) for name in PARTS}
    lines = [
        "# Performance",
        "",
        "Written by `scripts/bench-hop` from a run; edits are lost. How to run it yourself stands in "
        "[CONTRIBUTING.md](../CONTRIBUTING.md). These are figures of one machine on one day: nothing in the tests "
        f"depends on them. Commit {results.commit}{' with uncommitted changes' if results.is_changed else ''}.",
        "",
    ]
    measured = {name: one["result"] for name, one in kept.items() if one}
    if found := goals(measured):
        lines += ["## Goals", "", "*goal*: what a figure should be; *floor*: what it must be.", ""]
        lines += [*table(["figure", "measured", "goal", "floor", "reached"], [goal.row() for goal in found]), ""]
    for name, part in PARTS.items():
        lines += [f"## {part.title}", ""]
        if not kept[name]:
            lines += ["Not run.", ""]
            continue
        lines += [f"Measured {kept[name]['at']} on {kept[name]['machine']}.", "", *part.intro.splitlines(), ""]
        for one in part.tables:
            lines += lines_of(measured[name], one)
        lines += part.rest(measured[name])
    if results.failures:
        lines += ["## What failed", "", *(f"- {failure}" for failure in results.failures), ""]
    return "\n".join(lines)
