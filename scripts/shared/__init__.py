"""What several scripts use: where things are, what they print, how they refuse."""

import datetime
import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
ISSO = Path(os.environ.get("COMMENTD_ISSO", ROOT / ".work/venv/bin/isso"))


class Refused(Exception):
    """Something could not be done or measured, or a figure would have been one over errors."""


def say(text):
    print(f"== {datetime.datetime.now():%H:%M:%S} {text}", flush=True)


def table(head, rows):
    """A table in Markdown: the first column to the left, figures to the right."""
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return lines + ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
