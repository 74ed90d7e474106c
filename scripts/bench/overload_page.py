"""The section about too much load, and its goals, from what overload measured."""

from . import figures
from .figures import Goal, number, spread, table

TITLE = "Overload"

MB = 1e6
NAMES = {"memory": "`--ledger memory`", "durable": "a ledger file"}
TIMES = ("1", "2", "3")


def values(result, ledger, times, field):
    return [run[field] for run in result["runs"][ledger][times]]


def kept_share(result, ledger):
    """Goodput at three times the capacity, of the highest that was seen at any load."""
    seen = [run["goodput"] for run in result["search"][ledger]]
    best = max([*seen, *(figures.summary(values(result, ledger, times, "goodput"))["median"] for times in TIMES)])
    return figures.summary(values(result, ledger, "3", "goodput"))["median"] / best


def late_share(runs):
    """Of all accepted calls of these runs, those that were answered too late."""
    return total(runs, "late") / total(runs, "accepted")


def total(runs, field):
    return sum(run["late"][field] for run in runs)


def goals(result):
    found = []
    for ledger in result["runs"]:
        found += [
            Goal(f"goodput at 3× the load ÷ its peak: {ledger}", kept_share(result, ledger), 0.9, None, at_least=True),
            Goal(
                f"accepted and answered within 20 ms of the deadline, at 3×: {ledger}",
                100 * (1 - late_share(result["deadline"][ledger])), 99.9, None, "%", at_least=True,
            ),
        ]
    return found


def section(result):
    settings = result["settings"]
    lines = [
        f"In front of an upstream that takes {settings['upstream_ms']} ms, with `--max-in-flight "
        f"{settings['in_flight']}`: by arithmetic {settings['nominal']:,} comments a second. Goodput are those answered "
        "200 whose delivery the sidecar then knows as delivered. Each run is of a fresh process.",
        "",
    ]
    for ledger in result["runs"]:
        lines += load_lines(result, ledger) + [""]
    asked = result["asked"]
    lines += [
        "What is shed costs no work: with the file, the ledger then holds exactly as many deliveries as calls were "
        "accepted. Calls by hand at 3×, each by a connection of its own, were shed with 503, `Retry-After: 1` and code "
        "61: "
        + "; ".join(
            f"{NAMES[ledger]}: {one['shed']} of them, p50 {number(one['p50_ms'])} ms" for ledger, one in asked.items()
        )
        + ".",
        "",
    ]
    return lines + deadline_lines(result)


def load_lines(result, ledger):
    rows = [
        ("delivered a second", "goodput", 1),
        ("shed a second", "shed_per_second", 1),
        ("accepted: p50, ms", "accepted_p50_ms", 1),
        ("accepted: p99, ms", "accepted_p99_ms", 1),
        ("shed: p50, ms", "shed_p50_ms", 1),
        ("shed: p99, ms", "shed_p99_ms", 1),
        ("processor, µs a call", "cpu_us_a_call", 1),
        ("peak memory, MB", "peak_bytes", 1 / MB),
    ]
    body = []
    for what, field, scale in rows:
        cells = []
        for times in TIMES:
            runs = [one for one in map(derived, result["runs"][ledger][times]) if one[field] is not None]
            cells.append(spread(figures.summary([run[field] for run in runs]) if runs else None, scale))
        body.append([what, *cells])
    capacity = result["capacity"][ledger]
    lines = [f"With {NAMES[ledger]}, capacity {capacity:,.0f} a second, the peak of a search:", ""]
    return lines + table([""] + [f"{times}× the capacity" for times in TIMES], body)


def derived(run):
    return run | {
        "shed_per_second": run["shed"] / run["accepted"] * run["goodput"],
        "cpu_us_a_call": 1e6 * run["cpu_s"] / run["calls"],
    }


def deadline_lines(result):
    settings = result["settings"]
    lines = [
        f"Deadlines: with a deadline of {settings['deadline_ms']} ms, an upstream of {settings['slow_upstream_ms']} ms "
        f"and `--max-in-flight {settings['slow_in_flight']}`, at 3× what that takes, each accepted call has to be "
        "answered `unknown` at its deadline. The time is the client's, from sending to the whole reply.",
        "",
    ]
    body = []
    for ledger, runs in result["deadline"].items():
        usual = [run for of in result["runs"][ledger].values() for run in of]
        for what, some in (("deadline binds", runs), (f"{settings['upstream_ms']} ms upstream", usual)):
            body.append(
                [
                    f"{ledger}, {what}",
                    f"{total(some, 'accepted'):,}",
                    f"{100 * (1 - late_share(some)):.3f} %",
                    spread(figures.summary([run["late"]["p99.9_over_ms"] for run in some])),
                    number(max(run["late"]["worst_over_ms"] for run in some)),
                    f"{total(some, 'first_late'):,} of {total(some, 'first'):,}",
                ]
            )
    head = ["", "accepted", "within 20 ms", "p99.9 after it, ms", "latest, ms", "first calls late"]
    return lines + table(head, body) + [
        "",
        "*First calls*, of a connection that is made for them, are counted apart: their time has the connecting in it, "
        f"and the client makes all its {settings['connections']} connections at once.",
    ]
