"""The section about commentd as a hop, and its goals, from what hop measured."""

from . import figures
from .figures import Goal, number, of, spread, table

TITLE = "A hop"

MB = 1e6
SUBJECTS = {
    "direct": "the upstream itself, called without anything between",
    "nginx": "an nginx that passes everything on, over connections that it keeps (a worker for each core)",
    "memory": "commentd, `native_http`, `--ledger memory`",
    "durable, keys": "commentd, `native_http`, a ledger file; each call has a key of its own",
    "durable": "the same without keys, so that commentd makes them",
    "mock": "commentd, `mock`: answering, without a way out; its timer makes of a latency of 0 up to a millisecond",
}


class Runs:
    """The rounds of a result, by figure and subject."""

    def __init__(self, result):
        self.result = result
        self.subjects = result["subjects"]

    def values(self, figure, name, field):
        return [run[field] for run in self.result["runs"][figure][name]]

    def summary(self, figure, name, field):
        return figures.summary(self.values(figure, name, field))

    def over(self, figure, field, name, other):
        """One subject over another, round by round."""
        return figures.summary(figures.ratios(self.values(figure, name, field), self.values(figure, other, field)))

    def added(self, name, field, to="direct"):
        """What a subject adds to another's latency at the fixed rate, round by round, in ms."""
        own, theirs = self.values("rate", name, field), self.values("rate", to, field)
        return figures.summary(figures.differences(own, theirs))

    def added_ratio(self, name, field):
        """Added latency over nginx's; None where nginx added nothing that could be told from noise."""
        nginx = self.added("nginx", field)["median"]
        return self.added(name, field)["median"] / nginx if nginx > 0 else None

    def names(self, figure):
        return [one["name"] for one in self.subjects if one["name"] in self.result["runs"][figure]]

    def all(self, field):
        return [run[field] for of in self.result["runs"].values() for runs in of.values() for run in runs]

    def fsync_ms(self, field):
        return figures.summary([turn[field] for turn in self.result["fsync_ms"]])


def build_names(result):
    return [build["name"] for build in result["builds"]]


def goals(result):
    runs, found = Runs(result), []
    fsync = runs.fsync_ms("p50")["median"]
    for build in result["builds"]:
        name = build["name"]

        def add(what, *more, _name=name, **how):
            found.append(Goal(of(_name, what), *more, **how))

        for kind, goal, floor in (("memory", 1.0, 0.6), ("durable, keys", 0.5, 0.3), ("durable", 0.5, 0.3)):
            reached = runs.over("kept", "per_second", of(name, kind), "nginx")["median"]
            add(f"requests/s ÷ nginx's: {kind}", reached, goal, floor, at_least=True)
        for percentile in ("p50", "p99"):
            reached = runs.added_ratio(of(name, "memory"), f"{percentile}_ms")
            add(f"added latency ÷ nginx's: memory, {percentile}", reached, 1.5, 2.5)
        for percentile, fsyncs in (("p50", 2), ("p99", 4)):
            reached = runs.added(of(name, "durable"), f"{percentile}_ms", to=of(name, "memory"))["median"]
            add(f"durable over memory, {percentile} ({fsyncs} fsyncs)", reached, fsyncs * fsync, None, unit="ms")
        resident = figures.summary([one["bytes"] for one in result["in_flight"][name]])["median"] / MB
        add("resident, 1,000 in flight", resident, 30, 60, unit="MB")
        add("start to ready", figures.summary(result["start_ms"][name])["median"], 100, 300, unit="ms")
        if build["dist"]:
            add("`dist` binary", build["bytes"] / MB, 20, 30, unit="MB")
    return found


def section(result):
    runs, settings = Runs(result), result["settings"]
    lines = how_it_was_measured(result, runs)
    lines += ["### Requests a second", ""]
    lines += [f"{settings['connections']} callers, each of which calls again as soon as it is answered.", ""]
    lines += rates(runs, "kept", "connections are kept") + [""]
    lines += rates(runs, "new", "a new connection a call, as the existing client does") + [""]
    lines += ["### Latency", ""]
    lines += latency(runs, settings) + [""]
    lines += ["### Cost", ""]
    lines += cost(runs) + [""]
    lines += ["### Batches", ""]
    lines += batches(runs) + [""]
    lines += ["### Start, memory, size", ""]
    lines += others(result, runs)
    return lines + compared(runs, build_names(result))


def how_it_was_measured(result, runs):
    settings = result["settings"]
    rounds = len(result["fsync_ms"])
    load, others = figures.summary(runs.all("load_average")), figures.summary(runs.all("others"))
    lines = [
        "What a comment's way through commentd costs, where nginx is the measure of a hop that costs little. All "
        "speak HTTP/1.1 over loopback; **load client, subject and upstream share the processor**, so a rate is what "
        "they reach together, and a real network adds its own time to each. The upstream is an nginx that answers "
        "every call with the same words; its channel in commentd is `generic`.",
        "",
    ]
    for build in result["builds"]:
        if build["dist"]:
            guided = ", guided by how it runs" if build["how"] == "guided" else ""
            lines.append(f"- commentd was built by `scripts/dist`: profile `dist`{guided}")
        else:
            lines.append(f"- build{' ' + build['name'] if build['name'] else ''}: `{build['path']}`")
    kinds = {one["kind"] for one in runs.subjects}
    lines += [f"- **{kind}**: {what}" for kind, what in SUBJECTS.items() if kind in kinds]
    lines += [
        "",
        f"{rounds} rounds over all subjects, in another order each time. A figure is the median of the rounds, in "
        "brackets the lowest and the highest. What is *÷ nginx* is divided round by round. Each run starts its subject "
        f"anew, on a fresh ledger, with some calls before that don't count; it lasts {number(settings['seconds'])} s, "
        f"or {settings['keyed_calls']:,} calls where they have keys. A run counts only if every reply was a 200, if "
        "all comments reached the upstream, and if the ledger calls all of them `delivered`.",
        "",
        f"Tools: {result['tools']['oha']}, {result['tools']['nginx']}. Load average before the runs (mostly of the "
        f"runs before): {spread(load)}. Share of the processor that other programs took meanwhile: "
        f"{spread(others, 100)} %.",
        "",
    ]
    return lines


def rates(runs, figure, title):
    rows = [
        [
            name,
            spread(runs.summary(figure, name, "per_second")),
            "1" if name == "nginx" else spread(runs.over(figure, "per_second", name, "nginx")),
            spread(runs.summary(figure, name, "p99_ms")),
        ]
        for name in runs.names(figure)
    ]
    return table([title, "requests/s", "÷ nginx", "p99, ms"], rows)


def latency(runs, settings):
    lines = [
        f"At a fixed {settings['rate']:,} calls a second for {settings['rate_seconds']} s, over "
        f"{settings['connections']} kept connections. Time counts from the moment at which a call was to leave, "
        "whether or not a connection was free (oha's `--latency-correction`; its timer ticks once a millisecond, so "
        "that calls leave in pairs). The first call on each connection pays for connecting, which p99.9 may show.",
        "",
    ]
    names = runs.names("rate")
    fields = ["p50_ms", "p99_ms", "p99.9_ms"]
    rows = [[name, *(spread(runs.summary("rate", name, field)) for field in fields)] for name in names]
    lines += table(["ms", "p50", "p99", "p99.9"], rows)
    lines += ["", "*Added*: a subject's percentile less that of *direct*, round by round.", ""]
    rows = []
    for name in names:
        if name != "direct":
            row = [name]
            for field in fields[:2]:
                row += [spread(runs.added(name, field)), number(runs.added_ratio(name, field))]
            rows.append(row)
    return lines + table(["added, ms", "p50", "÷ nginx", "p99", "÷ nginx"], rows)


def cost(runs):
    rows = [
        [
            name,
            spread(runs.summary("kept", name, "cpu_s_per_100k")),
            number(runs.summary("kept", name, "upstream_cpu_s_per_100k")["median"]) if name != "direct" else "–",
            spread(runs.summary("new", name, "cpu_s_per_100k")),
            spread(runs.summary("kept", name, "peak_bytes"), 1 / MB),
            f"{runs.summary('kept', name, 'calls')['median']:,.0f}",
        ]
        for name in runs.names("kept")
    ]
    head = ["", "CPU, kept", "upstream's", "CPU, new", "peak, MB", "calls"]
    keyed = [one["name"] for one in runs.subjects if one["kind"] == "durable, keys"]
    with_keys = [run for figure in runs.result["runs"].values() for name in keyed for run in figure.get(name, [])]
    least = min(run["sent_on"] for run in with_keys)
    return table(head, rows) + [
        "",
        "*CPU*: seconds of processor that the subject's processes took for 100,000 comments, with kept connections "
        "and with new ones; the upstream's, beside it, are not in there. *Peak*: most resident memory at any time "
        "(nginx: of its processes together), after as many counted *calls*: the memory ledger keeps every "
        "delivery there, so its peak grows with them.",
        "",
        "Keys are drawn at random from a long list, so a few come twice and are answered from the ledger: in each "
        f"run with keys at least {100 * least:.2f} % of the calls were new deliveries.",
    ]


def batches(runs):
    rows = []
    for name in runs.names("batch 10"):
        row = [name]
        for figure in ("batch 10", "batch 1000"):
            row += [spread(runs.summary(figure, name, "comments_per_second"))]
            row += [number(runs.summary(figure, name, "cpu_s_per_100k")["median"])]
        rows.append(row)
    return table(["comments/s", "batches of 10", "CPU", "of 1,000", "CPU"], rows) + [
        "",
        "Batches of 10 from 64 callers, of 1,000 from one; each asks for a `concurrency` of 20, the most that is "
        "allowed by default. *CPU*: seconds for 100,000 comments.",
    ]


def compared(runs, names):
    """Each later build over the first, round by round."""
    if len(names) < 2:
        return []
    lines = ["", "### Builds compared", "", f"Divided by the same figure of {names[0]}, round by round.", ""]
    asked = [
        ("requests/s, kept", "kept", "per_second"),
        ("requests/s, new", "new", "per_second"),
        ("p50 at the fixed rate", "rate", "p50_ms"),
        ("p99 at the fixed rate", "rate", "p99_ms"),
        ("CPU, kept", "kept", "cpu_s_per_100k"),
        ("peak memory, kept", "kept", "peak_bytes"),
        ("comments/s, batches of 10", "batch 10", "comments_per_second"),
        ("comments/s, batches of 1,000", "batch 1000", "comments_per_second"),
    ]
    kinds = [one["kind"] for one in runs.subjects if one["build"] == names[0]]
    for name in names[1:]:
        rows = []
        for title, figure, field in asked:
            row = [title]
            for kind in kinds:
                there = of(name, kind) in runs.names(figure)
                row.append(spread(runs.over(figure, field, of(name, kind), of(names[0], kind))) if there else "–")
            rows.append(row)
        lines += table([f"{name} ÷ {names[0]}", *kinds], rows)
    return lines


def others(result, runs):
    rows = []
    for build in result["builds"]:
        name = build["name"]
        flights = result["in_flight"][name]
        rows += [
            [of(name, "start to ready, ms"), spread(figures.summary(result["start_ms"][name]))],
            [of(name, "resident, idle, MB"), spread(figures.summary([one["idle_bytes"] for one in flights]), 1 / MB)],
            [
                of(name, "resident, 1,000 in flight, MB"),
                spread(figures.summary([one["bytes"] for one in flights]), 1 / MB),
            ],
            [of(name, "binary, MB"), number(build["bytes"] / MB)],
        ]
    rows.append(["fsync, p50, ms", spread(runs.fsync_ms("p50"))])
    rows.append(["fsync, p99, ms", spread(runs.fsync_ms("p99"))])
    return table(["", "figure"], rows) + [
        "",
        "*Start to ready*: from the start of the process to its first 200 on `/ready`, with a ledger file that it has "
        "to make. *In flight*: 1,000 callers on connections of their own, each with a comment of 1 KiB that the "
        "upstream has and doesn't answer, on a ledger file. *fsync*: 4 KiB written over old ones and synced, on the "
        "disk of the ledgers, with nothing else running. MB are 1,000,000 bytes.",
    ]
