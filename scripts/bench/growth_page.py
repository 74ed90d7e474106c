"""The section about a large ledger, and its goals, from what growth measured."""

from . import figures
from .figures import Goal, number, spread, table

TITLE = "Growth"

DAY_S = 86_400
#: A rate to show the disk of a day at, beside the measured one.
USUAL_RATE = 2000


def values(result, name, figure, field):
    return [run[figure][field] for run in result["runs"][name]]


def summary(result, name, figure, field):
    return figures.summary(values(result, name, figure, field))


def ratio(result, figure, field):
    """Full over empty, round by round."""
    return figures.summary(
        figures.ratios(values(result, "full", figure, field), values(result, "empty", figure, field))
    )


def slowest(result, name):
    return max(run["slowest_ms"] for run in result["sweeps"][name])


def stall_ms(result):
    return max(0.0, slowest(result, "with") - slowest(result, "without"))


def bytes_each(result):
    return result["filled"]["bytes"] / result["filled"]["rows"]


def goals(result):
    rows = f"{result['settings']['rows']:,}"
    return [
        Goal(
            f"requests/s with {rows} deliveries ÷ empty", ratio(result, "kept", "per_second")["median"], 0.9, None,
            at_least=True,
        ),
        Goal("a sweep stalls a delivery by", stall_ms(result), 20, None, "ms"),
    ]


def section(result):
    settings, filled = result["settings"], result["filled"]
    rows = settings["rows"]
    lines = [
        f"A ledger of {rows:,} settled deliveries beside an empty one, in turns, keys from the client (random, as "
        "UUIDs are). Ratios are of neighbours in time; median (lowest–highest).",
        "",
    ]
    shown = [
        (f"requests/s, {settings['connections']} connections", "kept", "per_second"),
        (f"p50 at {settings['rate']}/s, ms", "rate", "p50_ms"),
        (f"p99 at {settings['rate']}/s, ms", "rate", "p99_ms"),
        (f"p99.9 at {settings['rate']}/s, ms", "rate", "p99.9_ms"),
    ]
    body = [
        [what, *(spread(summary(result, name, *where)) for name in ("empty", "full")), spread(ratio(result, *where))]
        for what, *where in shown
    ]
    ready = [
        spread(figures.summary([run["ready_ms"] for run in result["runs"][name]])) for name in ("empty", "full")
    ]
    body.append(["start to ready, ms", *ready, ""])
    lines += table(["", "empty", "full", "full ÷ empty"], body)
    lines += [""] + sweep_lines(result) + [""] + disk_lines(result, filled)
    return lines


def sweep_lines(result):
    settings, sweeps = result["settings"], result["sweeps"]
    body = [
        [what, *(spread(figures.summary([run[field] for run in sweeps[name]])) for name in ("without", "with"))]
        for what, field in (("p50, ms", "p50_ms"), ("p99, ms", "p99_ms"), ("slowest, ms", "slowest_ms"))
    ]
    swept = figures.summary([run["swept"] / run["seconds"] for run in sweeps["with"]])
    body.append(["swept a second", "0", spread(swept)])
    lines = [
        f"The sweep: {settings['sweep_rate']} comments a second for {settings['sweep_seconds']} s, on the full ledger, "
        "all of which is due at once in every second run.",
        "",
    ]
    lines += table(["", "without a sweep", "with one"], body)
    return lines + [
        "",
        f"The slowest call of all runs took {number(slowest(result, 'without'))} ms without a sweep and "
        f"{number(slowest(result, 'with'))} ms with one.",
    ]


def disk_lines(result, filled):
    each, full = bytes_each(result), summary(result, "full", "kept", "per_second")["median"]
    lines = [
        f"Disk: {filled['bytes'] / 1e6:,.0f} MB for {filled['rows']:,} deliveries of 100 bytes of text, "
        f"**{each:,.0f} bytes each**, and a log of about 4 MB beside it. With the usual retention of a day that is",
        "",
    ]
    lines += table(
        ["comments a second, all day", "GB"],
        [[f"{rate:,.0f}", f"{each * rate * DAY_S / 1e9:,.0f}"] for rate in (10, USUAL_RATE, full)],
    )
    if filled["parts"]:
        shares = [f"{name} {size / filled['rows']:,.0f}" for name, size in filled["parts"].items() if size > 1e4]
        lines += ["", f"Bytes of each delivery by table and index: {', '.join(shares)}."]
    return lines + [
        "",
        "When the disk is full, new comments are shed first: their intent can't be recorded, so they are answered 503 "
        "with `Retry-After` and code 61, `/ready` says 503, and nothing is sent. Known keys are still answered from the "
        "ledger, which can be read. What was sent already and can't be settled is tried again for about twelve seconds, "
        "and answered `unknown` at its deadline. Once there is room again, the ledger goes on by itself.",
    ]
