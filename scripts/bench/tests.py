"""Tests of what judges and writes: `python3 -m unittest bench.tests` in scripts. No figure is asserted here."""

import importlib.machinery
import importlib.util
import tempfile
import unittest
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from shared import Refused

from . import hop, load, page, tools


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
        figures = load.judged(mixed, "url", statuses=("200", "503"))
        self.assertEqual((figures["goodput"], figures["shed_per_second"]), (60, 40))

    def test_goal_floor_or_neither(self):
        high = [page.Goal("rate", reached, 1.0, 0.6, at_least=True).verdict() for reached in (1.1, 0.7, 0.5, None)]
        self.assertEqual(high, ["goal", "floor", "neither", "can't be told"])
        low = [page.Goal("time", reached, 2).verdict() for reached in (2, 3)]
        self.assertEqual(low, ["goal", "neither"])


class Running(unittest.TestCase):
    def test_each_part_has_an_empty_folder(self):
        """They name their folders alike, so that a run of all parts ended in its second one."""
        loader = importlib.machinery.SourceFileLoader("bench_hop", str(Path(__file__).parents[1] / "bench-hop"))
        script = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_hop", loader))
        loader.exec_module(script)
        found, kept = [], []

        def measured(bench):
            found.append(list(bench.scratch.iterdir()))
            (bench.scratch / "upstream").mkdir()
            return {}

        with tempfile.TemporaryDirectory() as folder, mock.patch.object(tools, "prepare_machine"):
            results = SimpleNamespace(folder=Path(folder), keep=lambda part, _: kept.append(part), failures=[])
            options = SimpleNamespace(quick=True, repeats=1, rows=1, oha=None, commentd=[])
            script.measure(options, results, {part: SimpleNamespace(measure=measured) for part in ("one", "two")})
            self.assertEqual(list(Path(folder).iterdir()), [], "nothing is left")
        self.assertEqual((found, kept), ([[], []], ["one", "two"]))


class Writing(unittest.TestCase):
    def result(self, *names):
        """What hop keeps of three rounds with made-up figures."""
        builds = [tools.Build(name, Path("there"), True) for name in names]
        kinds = ("memory", "durable, keys", "durable", "mock")
        everyone = [hop.Subject("direct"), hop.Subject("nginx")]
        everyone += [hop.Subject(kind, build) for build in builds for kind in kinds]
        run = {
            "per_second": 1000.0, "comments_per_second": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0, "p99.9_ms": 3.0,
            "cpu_s_per_100k": 4.0, "peak_mb": 30.0, "others": 0.01,
        }
        runs = {way.name: {one.name: [run] * 3 for one in way.subjects(everyone)} for way in hop.WAYS}
        runs["start"] = {build.subject("commentd"): [{"start_ms": 20.0}] for build in builds}
        runs["in flight"] = {build.subject("commentd"): [{"idle_mb": 10.0, "in_flight_mb": 50.0}] for build in builds}
        return {
            "tools": ["oha", "nginx"], "runs": runs, "fsync_ms": [0.1] * 3,
            "builds": [{"name": one.name, "path": "there", "is_dist": True, "mb": 18.0} for one in builds],
        }

    def page(self, **kept):
        kept = {part: {"at": "now", "machine": "here", "result": result} for part, result in kept.items()}
        results = SimpleNamespace(commit="c", is_changed=False, failures=["hop: why"], get=kept.get)
        return page.document(results)

    def test_nothing_added_is_no_ratio(self):
        reached = {goal.what: goal.verdict() for goal in page.goals({"hop": self.result("")})}
        self.assertEqual(reached["added p50 ÷ nginx's: memory"], "can't be told")
        self.assertEqual(reached["MB resident, 1,000 in flight"], "floor")
        self.assertEqual(reached["requests/s ÷ nginx's: memory"], "goal")

    def test_tables_have_a_cell_for_each_column(self):
        for names in ([""], ["A", "B"]):
            lines = self.page(hop=self.result(*names)).splitlines()
            self.assertEqual(any("B ÷ A" in line for line in lines), len(names) > 1)
            columns = None
            for line in lines:
                count = line.count("|") if line.startswith("|") else None
                self.assertTrue(count is None or columns in (None, count), line)
                columns = count

    def test_a_part_without_result_was_not_run(self):
        text = self.page()
        self.assertEqual(text.count("Not run."), len(page.PARTS))
        self.assertIn("- hop: why", text)


if __name__ == "__main__":
    unittest.main()
