"""What scripts/bench-hop measures. Each part is a module whose `measure(bench)` gives

    {"settings": {…}, "runs": {way: {subject: [a round's figures, …]}}, …}

or raises Refused where a figure would not be honest. It starts what it needs on free loopback ports and leaves nothing
running. page.py says how the figures are shown and what they should be; it reads no clock and no machine.
"""

PARTS = ("hop", "growth", "overload")
