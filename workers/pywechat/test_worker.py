"""Tests of the worker as a process, with stand-ins for the automation layer: python3 -m unittest"""

import hashlib
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

# An older fork, which has only the function that comments in one go. Takes down each call before it does anything
# else, as the truth that the tests compare with, and leaves a cache where it runs.
STUB = """
import os, sys
print("a library prints while it is loaded")

def comment_friend_moment(friend, comment_text, is_maximize=None, close_weixin=None, **options):
    os.makedirs("rush_moments_cache", exist_ok=True)
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


# The fork that reads a post and asks a callback for the comment before it types. A friend's post is a text; its
# fingerprint is told at the end. Takes down what it sends.
FORK = """
import hashlib, os

POSTS = {"Ann": "lovely day", "Bob": "first", "Eve": ""}
READS = 0

def fetch_and_comment_friend_moment(friend, ai_callback, target_folder=None, is_maximize=None, close_weixin=None,
                                    include_keywords=None, exclude_keywords=None, last_fingerprint=None):
    global READS
    os.makedirs("rush_moments_cache", exist_ok=True)
    READS += 1
    if friend not in POSTS:
        return {"comment_posted": False}
    if friend == "Eve":
        raise RuntimeError("no such window")
    post = "second" if friend == "Bob" and READS > 1 else POSTS[friend]
    found = {"fingerprint": hashlib.sha256(post.encode()).hexdigest(), "comment_posted": False}
    text = ai_callback(post, [])
    if text is None:
        return found
    with open(os.environ["CALLS"], "a", encoding="utf-8") as calls:
        calls.write(f"{friend}: {text} close={close_weixin}\\n")
    if text == "raise":
        raise RuntimeError("no such window")
    return {**found, "comment_posted": text != "false"}
"""


def hash_of(post):
    """As the bot passes it."""
    return hashlib.sha256(post.encode()).hexdigest()[:16]


class Running:
    """A worker, and the lines to and from it."""

    def __init__(self, test, stub=STUB, args=("--newest-post",), finds=True):
        folder = tempfile.TemporaryDirectory()
        test.addCleanup(folder.cleanup)
        root = pathlib.Path(folder.name).resolve()
        self.root = root
        self.directory = root / "working"
        self.directory.mkdir()
        (root / "pyweixin").mkdir()
        (root / "pyweixin" / "__init__.py").touch()
        (root / "pyweixin" / "moments_ext.py").write_text(stub, encoding="utf-8")
        self.calls_path = root / "calls"
        environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1", "CALLS": str(self.calls_path)}
        environment.pop("PYTHONPATH", None)
        # As the page says: the package's folder is named, wherever the worker is started.
        args = [*args, "--pywechat", ".." if finds is True else finds] if finds else args
        self.process = subprocess.Popen(
            [sys.executable, str(WORKER), *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            cwd=self.directory,
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
    return {**request, "content_hash": "", "not_after_ms": 60_000, **fields}


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

    def test_a_package_that_is_not_found_is_told_with_what_to_do(self):
        code, message = self.denied(Running(self, finds=None), {"id": "p", "cmd": "ping"})
        self.assertEqual(code, 65)
        self.assertIn("--pywechat DIR", message)

    def test_the_folder_of_the_package_itself_serves_too(self):
        worker = Running(self, finds="../pyweixin")
        worker.say({"id": "p", "cmd": "ping"})
        self.assertEqual(worker.hear(), {"id": "p", "ok": True})

    def test_a_library_without_the_function_or_that_fails_to_load_is_told(self):
        for stub, says in [
            ("", "has neither fetch_and_comment_friend_moment nor comment_friend_moment"),
            ("raise OSError('no UI')", "OSError: no UI"),
            ("raise SystemExit(3)", "SystemExit: 3"),
        ]:
            with self.subTest(says):
                worker = Running(self, stub)
                for request in [{"id": "p", "cmd": "ping"}, comment("1")]:
                    code, message = self.denied(worker, request)
                    self.assertEqual(code, 65)
                    self.assertIn(says, message)


class Callback(unittest.TestCase):
    """With the fork whose callback is the gate."""

    def started(self, request, args=()):
        worker = Running(self, FORK, args)
        worker.say(request)
        return worker

    def ended(self, request, args=()):
        worker = self.started(request, args)
        reply = worker.hear()
        self.assertEqual((worker.end()[0], worker.calls()), ([], []))
        return reply.get("error_code"), reply.get("error_message", "")

    def test_nothing_is_sent_before_go_and_one_comment_after_it(self):
        for content, ok in [("hi", True), ("raise", False), ("false", False)]:
            with self.subTest(content):
                worker = self.started(comment("1", content, content_hash=hash_of("lovely day")))
                self.assertEqual(worker.hear(), {"id": "1", "event": "ready"})
                self.assertEqual(worker.calls(), [])
                worker.say({"go": "1"})
                reply = worker.hear()
                self.assertEqual((reply["ok"], reply.get("error_code")), (ok, None if ok else 56))
                self.assertEqual((worker.end()[0], worker.calls()), ([], [f"Ann: {content} close=None"]))

    def test_without_go_the_callback_sends_nothing(self):
        for line in [{"go": "2"}, {"id": "p", "cmd": "ping"}]:
            worker = self.started(comment("1", content_hash=hash_of("lovely day")))
            worker.hear()
            worker.say(line)
            self.assertEqual(worker.hear()["error_code"], 62)
            worker.end()
            self.assertEqual(worker.calls(), [])
        worker = self.started(comment("1", content_hash=hash_of("lovely day"), not_after_ms=20))
        worker.hear()
        self.assertEqual(worker.hear()["error_code"], 62)
        worker.end()
        self.assertEqual(worker.calls(), [])

    def test_a_failure_before_the_go_is_none_after_it(self):
        code, message = self.ended(comment("1", author="Nobody"), ("--newest-post",))
        self.assertEqual(code, 20)
        self.assertIn("no such friend", message)
        self.assertEqual(self.ended(comment("1", author="Nobody", content_hash=hash_of("lovely day")))[0], 20)
        code, message = self.ended(comment("1", author="Eve"), ("--newest-post",))
        self.assertEqual((code, message), (65, "RuntimeError: no such window"))

    def test_the_hash_picks_the_post(self):
        code, message = self.ended(comment("1", content_hash=hash_of("another day")))
        self.assertEqual(code, 20)
        self.assertIn("content_hash", message)
        self.assertEqual(self.ended(comment("1", content_hash="abc"))[0], 10)
        # Bob posts something else between the two times that his newest post is read.
        self.assertEqual(self.ended(comment("1", author="Bob", content_hash=hash_of("first")))[0], 20)
        code, message = self.ended(comment("1"))
        self.assertEqual(code, 65)
        self.assertIn("--newest-post", message)

    def test_a_hash_needs_the_callback(self):
        worker = Running(self)
        worker.say(comment("1", content_hash=hash_of("lovely day")))
        self.assertEqual(worker.hear()["error_code"], 65)
        worker.end()
        self.assertEqual(worker.calls(), [])

    def test_nothing_is_left_in_the_working_directory(self):
        for stub in (STUB, FORK):
            worker = Running(self, stub, ("--newest-post", "--keep-window"))
            worker.say(comment("1"))
            worker.hear()
            worker.say({"go": "1"})
            self.assertEqual(worker.hear(), {"id": "1", "ok": True})
            worker.end()
            self.assertEqual(list(worker.directory.iterdir()), [])
        self.assertEqual(worker.calls(), ["Ann: hi close=False"])


if __name__ == "__main__":
    unittest.main()
