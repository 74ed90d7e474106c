"""docs/performance.md, from what was kept. Writes; decides nothing."""

from . import figures


def document(results, modules, failures):
    """`modules`: of each part, by its name; None for a part that there isn't."""
    kept = {name: results.get(name) for name in modules}
    lines = [
        "# Performance",
        "",
        "Written by `scripts/bench-hop` from a run; edits are lost. How to run it yourself stands in "
        "[CONTRIBUTING.md](../CONTRIBUTING.md). These are figures of one machine on one day: nothing in the tests "
        "depends on them.",
        "",
        f"- commit: {results.commit}{' with uncommitted changes' if results.dirty else ''}",
    ]
    first = next((of for of in kept.values() if of), None)
    if first:
        lines += machine_lines(first["machine"])
    lines += ["- command: `scripts/bench-hop`; one part again: `scripts/bench-hop --only hop`", ""]
    for name, module in modules.items():
        lines += [f"## {module.TITLE if module else name.capitalize()}", ""]
        if kept[name]:
            lines += [
                f"Measured {kept[name]['at']} by `{kept[name]['command']}`; load average before "
                f"{kept[name]['machine']['load_at_start']:.2f}.",
                "",
            ]
            lines += module.section(kept[name]["result"]) + [""]
        else:
            lines += ["Not run.", ""]
    lines += goals_section(kept, modules)
    if failures:
        lines += ["## What failed", ""] + [f"- {failure}" for failure in failures] + [""]
    return "\n".join(lines)


def machine_lines(machine):
    disk = machine["disk"]
    return [
        f"- machine: {machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.0f} GB; "
        f"{machine['system']}",
        f"- disk of the ledgers: {disk['device']}, {disk['type']}",
    ]


def goals_section(kept, modules):
    goals = []
    for name, module in modules.items():
        if kept[name] and hasattr(module, "goals"):
            goals += module.goals(kept[name]["result"])
    if not goals:
        return []
    lines = ["## Goals", ""]
    lines += figures.table(["figure", "measured", "goal", "floor", "reached"], [goal.row() for goal in goals])
    return lines + [
        "",
        "*goal*: what it should be; *floor*: what it must be. What the figures mean stands above, part by part.",
        "",
    ]
