"""Tests of what judges and writes: `python3 -m unittest bench.tests` in scripts. No figure is asserted here."""

import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from . import PARTS, Refused, context, figures, hop, hop_page, load, machine, page


def said(**more):
    """What oha says of a hundred good calls in a second."""
    good = {
        "summary": {"totalData": 20_000, "total": 1.0, "slowest": 0.03},
        "latencyPercentiles": {"p50": 0.001, "p99": 0.01, "p99.9": 0.02},
        "statusCodeDistribution": {"200": 100},
        "errorDistribution": {},
    }
    return {**good, **more}


class Judging(unittest.TestCase):
    def test_good_calls_count(self):
        figures = load.judged(said(), "url", calls=100, rate=100, reply_bytes=(190, 210))
        self.assertEqual((figures["calls"], figures["per_second"], figures["p99_ms"]), (100, 100, 10))

    def test_a_figure_over_anything_else_is_refused(self):
        for what, bad, expected in [
            ("an overload", said(statusCodeDistribution={"200": 99, "503": 1}), {}),
            ("no reply at all", said(statusCodeDistribution={}), {}),
            ("a broken connection", said(errorDistribution={"connection closed": 1}), {}),
            ("a call without its reply", said(), {"calls": 101}),
            ("another reply", said(), {"reply_bytes": (300, 400)}),
            ("a rate that wasn't kept", said(), {"rate": 200}),
        ]:
            with self.subTest(what), self.assertRaises(Refused):
                load.judged(bad, "url", **expected)

    def test_a_status_that_was_expected_counts(self):
        mixed = said(statusCodeDistribution={"200": 60, "503": 40})
        self.assertEqual(load.judged(mixed, "url", statuses=("200", "503"))["statuses"]["503"], 40)

    def test_goal_floor_or_neither(self):
        high = [figures.Goal("rate", reached, 1.0, 0.6, at_least=True).verdict() for reached in (1.1, 0.7, 0.5, None)]
        self.assertEqual(high, ["goal", "floor", "neither", "can't be told"])
        low = [figures.Goal("time", reached, 2, None).verdict() for reached in (2, 3)]
        self.assertEqual(low, ["goal", "neither"])


class Running(unittest.TestCase):
    def test_each_part_has_an_empty_folder(self):
        """They name their folders alike, so that a run of all parts ended in its second one."""
        loader = importlib.machinery.SourceFileLoader("bench_hop", str(Path(__file__).parents[1] / "bench-hop"))
        script = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_hop", loader))
        loader.exec_module(script)
        found, kept = [], {}

        def measured(at):
            found.append(list(at.scratch.iterdir()))
            (at.scratch / "upstream").mkdir()
            return {}

        with tempfile.TemporaryDirectory() as folder, mock.patch.object(machine, "refuse_memory_filesystem"):
            results = SimpleNamespace(
                folder=Path(folder), get=kept.get, keep=lambda part, *_: kept.update({part: True})
            )
            options = SimpleNamespace(
                only=["one", "two"], quick=True, repeats=1, rows=1, oha=None, commentd=None
            )
            script.measure(options, results, {part: SimpleNamespace(measure=measured) for part in options.only}, [])
            self.assertEqual(list(Path(folder).iterdir()), [], "nothing is left")
        self.assertEqual((found, list(kept)), ([[], []], ["one", "two"]))


class Writing(unittest.TestCase):
    def result(self, *builds):
        """What hop keeps of three rounds with made-up figures."""
        builds = [context.Build(name, Path("there"), True) for name in builds]
        everyone = hop.subjects(builds)
        run = {
            "per_second": 1000.0, "comments_per_second": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0, "p99.9_ms": 3.0,
            "cpu_s_per_100k": 4.0, "upstream_cpu_s_per_100k": 1.0, "peak_bytes": 30_000_000, "calls": 3000,
            "sent_on": 1.0, "load_average": 0.5, "others": 0.01,
        }
        return {
            "settings": {
                "connections": 64, "rate": 2000, "in_flight": 1000, "seconds": 3, "rate_seconds": 10,
                "keyed_calls": 20_000,
            },
            "tools": {"oha": "oha", "nginx": "nginx"},
            "subjects": [
                {"name": one.name, "kind": one.kind, "build": one.build.name if one.build else None} for one in everyone
            ],
            "builds": [
                {"name": one.name, "path": str(one.path), "dist": one.dist, "bytes": 18_000_000, "how": "guided"}
                for one in builds
            ],
            "runs": {
                figure.name: {one.name: [run] * 3 for one in figure.subjects(everyone)} for figure in hop.FIGURES
            },
            "fsync_ms": [{"p50": 0.1, "p99": 0.2}] * 3,
            "start_ms": {one.name: [20.0] for one in builds},
            "in_flight": {one.name: [{"idle_bytes": 10_000_000, "bytes": 50_000_000}] for one in builds},
        }

    def test_nothing_added_is_no_ratio(self):
        reached = {goal.what: goal.verdict() for goal in hop_page.goals(self.result(""))}
        self.assertEqual(reached["added latency ÷ nginx's: memory, p50"], "can't be told")
        self.assertEqual(reached["resident, 1,000 in flight"], "floor")
        self.assertEqual(reached["`dist` binary"], "goal")

    def test_tables_have_a_cell_for_each_column(self):
        for builds in ([""], ["A", "B"]):
            lines = hop_page.section(self.result(*builds))
            self.assertEqual(any("B ÷ A" in line for line in lines), len(builds) > 1)
            columns = None
            for line in lines:
                count = line.count("|") if line.startswith("|") else None
                self.assertTrue(count is None or columns in (None, count), line)
                columns = count

    def test_a_part_without_result_was_not_run(self):
        with tempfile.TemporaryDirectory() as folder:
            kept = SimpleNamespace(commit="c", dirty=False, folder=Path(folder), get=lambda part: None)
            text = page.document(kept, {part: None for part in PARTS}, ["hop: why"])
        self.assertEqual(text.count("Not run."), len(PARTS))
        self.assertIn("- hop: why", text)


if __name__ == "__main__":
    unittest.main()
