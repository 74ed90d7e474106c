"""Tests of the worker as a process, with a stub in the place of the automation layer: python3 -m unittest"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import unittest

# A worker that says nothing for this long is ended, which fails its test. Generous: machines are shared and slow.
PATIENCE_S = 60
WORKER = pathlib.Path(__file__).with_name("commentd_worker.py")

# Takes down each call before it does anything else, as the truth that the tests compare with.
STUB = """
import os, sys
print("a library prints while it is loaded")

def comment_friend_moment(friend, comment_text, **options):
    with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
        calls.write(f"{friend}: {comment_text}\\n")
    print("a library prints")
    os.write(1, b"and so does its C code\\n")
    if comment_text == "raise":
        raise RuntimeError("no such\\nwindow")
    if comment_text == "exit":
        sys.exit(7)
    if comment_text == "die":
        os._exit(9)
    return comment_text != "false"
"""


class Running:
    """A worker, and the lines to and from it."""

    def __init__(self, test, stub=STUB, args=("--newest-post",)):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        root = pathlib.Path(folder.name)
        (root / "pyweixin").mkdir()
        (root / "pyweixin" / "__init__.py").touch()
        (root / "pyweixin" / "moments_ext.py").write_text(stub, encoding="utf-8")
        self.calls_path = root / "calls"
        environment = {**os.environ, "PYTHONPATH": str(root), "CALLS": str(self.calls_path)}
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
        )
        test.addCleanup(self.stop)

    def stop(self):
        self.process.kill()
        self.process.communicate()

    def say(self, line):
        line = line if isinstance(line, bytes) else json.dumps(line).encode()
        self.process.stdin.write(line + b"\n")
        self.process.stdin.flush()

    def hear(self):
        return json.loads(self.hear_line())

    def hear_line(self):
        """The next line; nothing if it ends, or is ended because it keeps silent."""
        watchdog = threading.Timer(PATIENCE_S, self.process.kill)
        watchdog.start()
        line = self.process.stdout.readline()
        watchdog.cancel()
        return line

    def calls(self):
        return self.calls_path.read_text(encoding="utf-8").splitlines() if self.calls_path.exists() else []

    def end(self):
        """Ends stdin; gives the lines that were still to come, and stderr."""
        said, log = self.process.communicate(timeout=PATIENCE_S)
        return [json.loads(line) for line in said.splitlines()], log.decode()


def comment(name, content="hi", **fields):
    request = {"id": name, "cmd": "comment", "author": "Ann", "sns_id": "", "content": content, "reply_to": ""}
    return {**request, "not_after_ms": 60_000, **fields}


class Protocol(unittest.TestCase):
    def test_nothing_is_clicked_before_go_and_one_comment_after_it(self):
        worker = Running(self)
        worker.say(comment("1", "你好"))
        self.assertEqual(worker.hear(), {"id": "1", "event": "ready"})
        self.assertEqual(worker.calls(), [])
        worker.say({"go": "1"})
        self.assertEqual(worker.hear(), {"id": "1", "ok": True})
        self.assertEqual(worker.calls(), ["Ann: 你好"])
        rest, log = worker.end()
        self.assertEqual(rest, [], "prints must not stand among the protocol's lines")
        for printed in ["while it is loaded", "a library prints\n", "its C code"]:
            self.assertIn(printed, log)

    def test_after_go_there_is_one_reply_whatever_happens(self):
        for content, says in [("raise", "RuntimeError: no such window"), ("exit", "SystemExit"), ("false", "doesn't say")]:
            with self.subTest(content):
                worker = Running(self)
                worker.say(comment("1", content))
                worker.hear()
                worker.say({"go": "1"})
                reply = worker.hear()
                self.assertEqual((reply["id"], reply["ok"], reply["error_code"]), ("1", False, 56))
                self.assertIn(says, reply["error_message"])
                self.assertEqual((worker.end()[0], worker.calls()), ([], [f"Ann: {content}"]))

    def test_a_death_after_go_says_nothing(self):
        worker = Running(self)
        worker.say(comment("1", "die"))
        worker.hear()
        worker.say({"go": "1"})
        self.assertEqual(worker.hear_line(), b"")
        self.assertEqual(worker.process.wait(timeout=PATIENCE_S), 9)

    def test_a_worker_goes_on_after_a_failure(self):
        worker = Running(self)
        for name, content, ok in [("1", "raise", False), ("2", "hi", True)]:
            worker.say(comment(name, content))
            worker.hear()
            worker.say({"go": name})
            self.assertEqual(worker.hear()["ok"], ok)

    def test_without_go_in_time_nothing_is_clicked_and_a_late_go_is_none(self):
        worker = Running(self)
        worker.say(comment("1", not_after_ms=20))
        self.assertEqual(worker.hear()["event"], "ready")
        reply = worker.hear()
        self.assertEqual((reply["id"], reply["ok"], reply["error_code"]), ("1", False, 62))
        worker.say({"go": "1"})
        worker.say({"id": "p", "cmd": "ping"})
        self.assertEqual(worker.hear(), {"id": "p", "ok": True})
        self.assertEqual(worker.calls(), [])

    def test_any_other_line_than_go_means_no(self):
        for other in [{"go": "2"}, {"id": "p", "cmd": "ping"}, b"garbage", comment("2")]:
            with self.subTest(str(other)):
                worker = Running(self)
                worker.say(comment("1"))
                worker.hear()
                worker.say(other)
                reply = worker.hear()
                self.assertEqual((reply["id"], reply["ok"], reply["error_code"]), ("1", False, 62))
                worker.say({"go": "1"})
                worker.end()
                self.assertEqual(worker.calls(), [])

    def test_a_line_that_came_instead_of_go_is_answered_too(self):
        worker = Running(self)
        worker.say(comment("1"))
        worker.say(comment("2"))
        self.assertEqual([worker.hear().get("event"), worker.hear()["id"]], ["ready", "1"])
        self.assertEqual(worker.hear(), {"id": "2", "event": "ready"})
        worker.say({"go": "2"})
        self.assertEqual(worker.hear(), {"id": "2", "ok": True})
        self.assertEqual(len(worker.calls()), 1)

    def test_the_end_of_stdin_before_go_clicks_nothing(self):
        worker = Running(self)
        worker.say(comment("1"))
        worker.hear()
        self.assertEqual((worker.end()[0], worker.process.returncode, worker.calls()), ([], 0, []))

    def test_garbage_does_not_end_it(self):
        worker = Running(self)
        for line in [b"", b"{", b"\xff\xfe", b"[1]", b"7", b"[" * 100_000, b"x" * (3 << 20), b'{"go":"1"}']:
            worker.say(line)
        for bad in [{"id": "b", "cmd": "dance"}, comment("b", not_after_ms="soon"), comment("b", author=7), comment("b", "")]:
            worker.say(bad)
            reply = worker.hear()
            self.assertEqual((reply["id"], reply["ok"], reply["error_code"]), ("b", False, 10), bad)
        worker.say({"cmd": "ping"})
        self.assertEqual(worker.hear(), {"ok": True})


class Capability(unittest.TestCase):
    def denied(self, worker, request):
        worker.say(request)
        reply = worker.hear()
        self.assertFalse(reply["ok"])
        return reply["error_code"], reply["error_message"]

    def test_what_it_cant_do_is_said_before_anything_is_clicked(self):
        worker = Running(self)
        self.assertEqual(self.denied(worker, comment("1", reply_to="17"))[0], 31)
        self.assertEqual(self.denied(worker, comment("1", author=""))[0], 31)
        self.assertEqual(worker.calls(), [])

    def test_the_newest_post_must_be_allowed(self):
        worker = Running(self, args=())
        for request in [{"id": "p", "cmd": "ping"}, comment("1")]:
            code, message = self.denied(worker, request)
            self.assertEqual(code, 65)
            self.assertIn("--newest-post", message)
        self.assertEqual(worker.calls(), [])

    def test_a_library_without_the_function_or_that_fails_to_load_is_told(self):
        for stub, says in [
            ("", "has no comment_friend_moment"),
            ("raise OSError('no UI')", "OSError: no UI"),
            ("raise SystemExit(3)", "SystemExit: 3"),
        ]:
            with self.subTest(says):
                worker = Running(self, stub)
                for request in [{"id": "p", "cmd": "ping"}, comment("1")]:
                    code, message = self.denied(worker, request)
                    self.assertEqual(code, 65)
                    self.assertIn(says, message)


if __name__ == "__main__":
    unittest.main()
