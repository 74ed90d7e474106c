"""The micro-benchmarks of the pure parts and of the ledger's commits."""

import json
import os

from .context import say
from .figures import number, table

TITLE = "Parts"

ARGUMENTS = ("--noplot", "--sample-size", 20, "--warm-up-time", 0.5, "--measurement-time", 2)
QUICK = ("--noplot", "--sample-size", 10, "--warm-up-time", 0.2, "--measurement-time", 0.5)


def measure(context):
    home = context.scratch / "criterion"
    say("cargo bench -p commentd-benches")
    args = ["cargo", "bench", "--locked", "--quiet", "--package", "commentd-benches", "--"]
    args += QUICK if context.quick else ARGUMENTS
    context.command("parts", args, env={**os.environ, "CRITERION_HOME": str(home)})
    found = []
    for file in sorted(home.glob("**/new/benchmark.json")):
        what, said = json.loads(file.read_text()), json.loads((file.parent / "estimates.json").read_text())
        median = said["median"]
        found.append(
            {
                "name": what["group_id"],
                "waiting": int(what["value_str"]) if what["value_str"] else None,
                "median_ns": median["point_estimate"],
                "low_ns": median["confidence_interval"]["lower_bound"],
                "high_ns": median["confidence_interval"]["upper_bound"],
            }
        )
    return {"parts": found}


def time(ns):
    for unit, size in (("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{number(ns / size)} {unit}"
    return f"{number(ns)} ns"


def section(result):
    pure = [part for part in result["parts"] if part["waiting"] is None]
    ledgers = sorted(
        (part for part in result["parts"] if part["waiting"] is not None),
        key=lambda part: (part["name"], part["waiting"]),
    )
    lines = ["Medians of `cargo bench -p commentd-benches`, one thread.", ""]
    lines += table(["what", "time"], [[part["name"], time(part["median_ns"])] for part in pure])
    lines += [
        "",
        "The ledger's commits: so many deliveries wait together, all are opened, then all are settled. In a file, each "
        "of the two is a transaction (of at most 512) and a sync.",
        "",
    ]
    return lines + table(
        ["ledger", "waiting", "together", "each", "deliveries/s"],
        [
            [
                part["name"].split(",")[0], part["waiting"], time(part["median_ns"]),
                time(part["median_ns"] / part["waiting"]), f"{1e9 * part['waiting'] / part['median_ns']:,.0f}",
            ]
            for part in ledgers
        ],
    )
