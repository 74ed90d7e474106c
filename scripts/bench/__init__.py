"""What scripts/bench-hop measures.

A part is a module of this package with

    TITLE                    the heading of its section
    measure(context) -> dict the figures, as JSON can hold them; raises Refused where a figure would not be honest
    section(result) -> list  its section of docs/performance.md, without the heading: lines of Markdown
    goals(result) -> list    optional: figures.Goal, for the table of goals

measure() starts what it needs through servers and load, on free loopback ports, and leaves nothing running.
section() and goals() are given what measure() returned, perhaps in an earlier run: they read no clock and no machine.
"""

PARTS = ("hop", "growth", "overload", "parts")


class Refused(Exception):
    """Something could not be measured, or a figure would have been one over errors."""
