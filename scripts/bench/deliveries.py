"""What a sidecar and its ledger say that deliveries came to."""

import contextlib
import json
import sqlite3

from . import Refused, load

OUTCOMES = ("delivered", "held", "misplaced", "refused", "not_sent", "unknown")


def known(server):
    """The outcomes of which a sidecar knows a delivery, each with one that came to it, as it is shown."""
    found = {}
    for outcome in OUTCOMES:
        status, content = load.ask(server.port, f"/api/deliveries?outcome={outcome}&limit=1")
        if status != 200:
            raise Refused(f"{server.name}: {content[:500]!r}")
        if json.loads(content)["data"]["deliveries"]:
            found[outcome] = content
    return found


def recorded(ledger):
    """How many deliveries a closed ledger holds, by outcome; those without an end are open, and so unknown."""
    sql = (
        "SELECT coalesce(outcome, 'unknown'), count(*) FROM deliveries LEFT JOIN ends ON delivery = number GROUP BY 1"
    )
    with contextlib.closing(sqlite3.connect(ledger)) as file:
        return dict(file.execute(sql))
