"""Medians, spreads and goals: the arithmetic, without any measuring."""

import statistics
from dataclasses import dataclass


def summary(values):
    """The median of one figure over the rounds, with the lowest and the highest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values), "rounds": len(values)}


def ratios(ours, theirs):
    """One figure over another, round by round: neighbours in time saw the same machine."""
    return [mine / other for mine, other in zip(ours, theirs, strict=True)]


def differences(ours, theirs):
    return [mine - other for mine, other in zip(ours, theirs, strict=True)]


def of(build, what):
    """A name with that of its build, where there are several."""
    return f"{what} [{build}]" if build else what


def number(value):
    """As many digits as carry something."""
    if value is None:
        return "–"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def spread(figure, scale=1.0):
    """`median (lowest–highest)`, for a table."""
    if figure is None:
        return "–"
    low, high = figure["min"] * scale, figure["max"] * scale
    return f"{number(figure['median'] * scale)} ({number(low)}–{number(high)})"


def table(head, rows):
    """A table in Markdown: the first column to the left, figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]


@dataclass
class Goal:
    """A figure, what it should be and what it must be."""

    what: str
    reached: float | None
    goal: float
    floor: float | None
    unit: str = ""
    at_least: bool = False

    def verdict(self):
        if self.reached is None:
            return "can't be told"
        for word, limit in (("goal", self.goal), ("floor", self.floor)):
            if limit is not None and (self.reached >= limit if self.at_least else self.reached <= limit):
                return word
        return "neither"

    def row(self):
        sign = "≥" if self.at_least else "≤"
        unit = f" {self.unit}" if self.unit else ""
        limits = ["–" if limit is None else f"{sign} {number(limit)}{unit}" for limit in (self.goal, self.floor)]
        return [self.what, f"{number(self.reached)}{unit}", *limits, self.verdict()]
