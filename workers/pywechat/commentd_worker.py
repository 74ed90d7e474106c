#!/usr/bin/env python3
"""A UI worker of commentd for pywechat: comments on a Moments post of a friend.

commentd starts it (--real-ui-command) and speaks JSON lines with it over stdin and stdout:

    commentd > {"id","cmd":"comment","author","sns_id","content","reply_to","content_hash","not_after_ms"}
    worker   > {"id","event":"ready"}
    commentd > {"go":id}
    worker   > {"id","ok":true}  or  {"id","ok":false,"error_code","error_message"}
    commentd > {"id","cmd":"ping"}
    worker   > {"id","ok":true}  or  {"id","ok":false,...}: why it can't comment now

Before `go` nothing is sent; after it there is exactly one reply, whatever happens. See README.md.
"""

import argparse
import contextlib
import importlib
import json
import os
import pathlib
import queue
import shutil
import sys
import tempfile
import threading
import time

# Codes of commentd's contract. After `go`, 56 means: nobody knows whether the comment landed.
INVALID_COMMAND = 10
POST_NOT_FOUND = 20
NOT_IMPLEMENTED = 31
OUTCOME_UNKNOWN = 56
DEADLINE_EXCEEDED = 62
UI_WORKER_UNAVAILABLE = 65

MAX_LINE_BYTES = 1 << 20
MAX_WAIT_MS = 600_000
# The longest that the worker may still be at work once commentd is gone: then another one may want the screen.
MAX_WORK_AFTER_END_S = 10
# The bot passes this much of a post's fingerprint as its content_hash.
HASH_LENGTH = 16
# Reads a post, asks a callback for the comment, and only then types it.
CALLBACK_FUNCTION = "fetch_and_comment_friend_moment"
# Comments in one go.
PLAIN_FUNCTION = "comment_friend_moment"


class Refused(Exception):
    """Why a comment isn't there; before `go` that is certain, with code 56 it isn't."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Pywechat:
    """The fork's functions that comment, found when they are first needed."""

    def __init__(self, module, newest_post, keep_window=False):
        self.module = module
        self.newest_post = newest_post
        # What the library does to windows by itself, unless the user wants otherwise.
        self.options = {"close_weixin": False} if keep_window else {}
        self.functions = None

    def prepare(self, content_hash):
        """Finds everything that a comment on this post needs; without a hash, on the author's newest.

        Raises Refused with the reason. Clicks nothing.
        """
        self.ready()
        has_callback = self.functions[0] is not None
        if content_hash and not has_callback:
            raise Refused(
                UI_WORKER_UNAVAILABLE,
                f"{self.module} has no {CALLBACK_FUNCTION}, without which a post can't be told by its content_hash",
            )
        if not content_hash and not self.newest_post:
            or_name = "name the post by its content_hash, or " if has_callback else ""
            raise Refused(
                UI_WORKER_UNAVAILABLE,
                f"this would comment on the author's newest post, which may be the wrong one; {or_name}"
                "start the worker with --newest-post to allow that",
            )

    def ready(self):
        """Raises Refused where no comment at all could be prepared now."""
        if self.functions is None:
            self.functions = self._find()
        if self.functions[0] is None and not self.newest_post:
            raise Refused(
                UI_WORKER_UNAVAILABLE,
                f"{self.module} has only {PLAIN_FUNCTION}, which comments on an author's newest post, maybe the wrong "
                "one; start the worker with --newest-post to allow that",
            )
        reason = why_session_cant_click()
        if reason:
            raise Refused(UI_WORKER_UNAVAILABLE, reason)

    def _find(self):
        try:
            module = importlib.import_module(self.module)
        except ModuleNotFoundError as error:
            missing = error.name and (self.module + ".").startswith(error.name + ".")
            hint = "; name the folder that holds it with --pywechat DIR" if missing else ""
            raise Refused(UI_WORKER_UNAVAILABLE, f"{self.module} can't be loaded: {told(error)}{hint}") from None
        except BaseException as error:  # whatever a library does while it loads
            raise Refused(UI_WORKER_UNAVAILABLE, f"{self.module} can't be loaded: {told(error)}") from None
        found = [getattr(module, name, None) for name in (CALLBACK_FUNCTION, PLAIN_FUNCTION)]
        functions = tuple(function if callable(function) else None for function in found)
        if not any(functions):
            raise Refused(
                UI_WORKER_UNAVAILABLE,
                f"{self.module} has neither {CALLBACK_FUNCTION} nor {PLAIN_FUNCTION}: this pywechat can't comment",
            )
        return functions

    def comment(self, author, content, content_hash, gate):
        """Comments, once the gate lets it. Raises Refused unless the library says that the comment is there."""
        with_callback, plain = self.functions
        with left_nothing() as folder:
            if with_callback:
                return self._by_callback(with_callback, author, content, content_hash, gate, folder)
            if not gate():
                return None
            # One call that opens, types and clicks: whatever it says afterwards, it may have sent.
            if plain(friend=author, comment_text=content, **self.options) is not True:
                raise Refused(OUTCOME_UNKNOWN, f"{PLAIN_FUNCTION} doesn't say that the comment is there")
        return None

    def _by_callback(self, function, author, content, content_hash, gate, folder):
        def read(answer):
            found = function(author, answer, target_folder=folder, **self.options)
            return found if isinstance(found, dict) else {}

        seen = None
        if content_hash:
            # The fingerprint is told only at the end of a call, so that the post is read once before.
            posts = []
            fingerprint = str(read(lambda text, images: posts.append(text)).get("fingerprint") or "")
            if not posts or fingerprint[:HASH_LENGTH] != content_hash[:HASH_LENGTH]:
                raise Refused(POST_NOT_FOUND, f"{author}'s newest post isn't the one with this content_hash")
            seen = posts[-1]
        asked = []

        def answer(text, images):
            if asked or (content_hash and text != seen):
                return None
            asked.append(text)
            return content if gate() else None

        result = read(answer)
        if not asked:
            changed = "has changed meanwhile" if content_hash else "wasn't found, or there is no such friend"
            raise Refused(POST_NOT_FOUND, f"{author}'s post {changed}; nothing was sent")
        if gate.passed and result.get("comment_posted") is not True:
            raise Refused(OUTCOME_UNKNOWN, f"{CALLBACK_FUNCTION} doesn't say that the comment is there")


@contextlib.contextmanager
def left_nothing():
    """A working directory that is gone afterwards: the library leaves a cache in it."""
    before = os.getcwd()
    folder = tempfile.mkdtemp(prefix="commentd-worker-")
    os.chdir(folder)
    try:
        yield folder
    finally:
        os.chdir(before)
        shutil.rmtree(folder, ignore_errors=True)


def why_session_cant_click():
    """Why nobody could click in this session now, or nothing. Elsewhere than on Windows, the library decides."""
    if sys.platform != "win32":
        return None
    import ctypes

    user32 = ctypes.WinDLL("user32", use_last_error=True)
    user32.OpenInputDesktop.restype = ctypes.c_void_p
    user32.CloseDesktop.argtypes = [ctypes.c_void_p]
    switch_desktop = 0x0100
    desktop = user32.OpenInputDesktop(0, False, switch_desktop)
    if not desktop:
        return "the Windows session is locked or has no desktop; log in, unlock it, and keep it so"
    user32.CloseDesktop(desktop)
    return None


class Gate:
    """Called when only the sending is left: says `ready` and waits for `go`. True at most once."""

    def __init__(self, wait):
        self.wait = wait
        self.called = False
        self.passed = False

    def __call__(self):
        if self.called:
            return False
        self.called = True
        self.passed = self.wait()
        return self.passed


class Worker:
    """Reads requests, and writes the protocol's lines and nothing else."""

    def __init__(self, automation, source, sink):
        self.automation = automation
        self.sink = sink
        self.lines = queue.Queue()
        # Why the last comment got no go, and what came in its place.
        self.no_go = None
        self.instead = None
        # A thread, since on Windows a pipe can't be waited for with a time limit.
        threading.Thread(target=self._read, args=(source,), daemon=True).start()

    def _read(self, source):
        while True:
            line = source.readline(MAX_LINE_BYTES + 1)
            if not line:
                break
            too_long = len(line) > MAX_LINE_BYTES
            while too_long and line and not line.endswith(b"\n"):
                line = source.readline(MAX_LINE_BYTES)
            self.lines.put((None if too_long else line, time.monotonic()))
        self.lines.put(None)
        # commentd is gone. A library that hangs must not keep the screen from the next worker.
        time.sleep(MAX_WORK_AFTER_END_S)
        os._exit(1)

    def run(self):
        """Until stdin ends."""
        item = self.lines.get()
        while item is not None:
            item = self._handle(*item) or self.lines.get()

    def _handle(self, line, arrived):
        """Deals with one line. Returns an item that came instead of a `go`, or None."""
        request = parse(line)
        if request is None:
            return None
        command, name = request.get("cmd"), request.get("id")
        if command == "ping":
            self._end(name, why_not(self.automation.ready))
        elif command == "comment" and isinstance(name, str) and name:
            return self._comment(request, name, arrived)
        elif "go" not in request:
            # A `go` that nobody waits for is too late; anything else is a mistake.
            self._end(name, Refused(INVALID_COMMAND, f"no command of this worker: {command!r}"))
        return None

    def _comment(self, request, name, arrived):
        try:
            author, content, content_hash, patience_s = checked(request)
        except Refused as reason:
            self._end(name, reason)
            return None
        reason = why_not(lambda: self.automation.prepare(content_hash))
        if reason:
            self._end(name, reason)
            return None
        self.no_go, self.instead = None, None
        gate = Gate(lambda: self._wait_for_go(name, arrived + patience_s))
        reason, ended = None, None
        try:
            self.automation.comment(author, content, content_hash, gate)
        except Refused as refused:
            reason = refused
        except BaseException as error:  # SystemExit and KeyboardInterrupt, too: the reply comes first
            reason = Refused(OUTCOME_UNKNOWN if gate.passed else UI_WORKER_UNAVAILABLE, told(error))
            ended = None if isinstance(error, Exception) else error
        if gate.called and not gate.passed:
            reason = self.no_go
        # Without a reason not to, it went out; where commentd is gone, nobody hears it.
        if reason is not None or gate.passed:
            self._end(name, reason)
        if ended:
            raise ended
        return self.instead

    def _wait_for_go(self, name, until):
        self._write({"id": name, "event": "ready"})
        try:
            item = self.lines.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            self.no_go = Refused(DEADLINE_EXCEEDED, "no go in time; nothing was sent")
            return False
        if item is None:
            # commentd is gone: nobody may click any more.
            self.lines.put(None)
            return False
        if (parse(item[0]) or {}).get("go") == name:
            return True
        self.no_go = Refused(DEADLINE_EXCEEDED, "something else came instead of the go; nothing was sent")
        self.instead = item
        return False

    def _end(self, name, reason):
        reply = {"ok": reason is None}
        if isinstance(name, (str, int)):
            reply["id"] = name
        if reason is not None:
            reply["error_code"] = reason.code
            reply["error_message"] = str(reason)
        self._write(reply)

    def _write(self, reply):
        self.sink.write(json.dumps(reply).encode("ascii") + b"\n")
        self.sink.flush()


def why_not(prepare):
    """Why a comment can't be prepared, or None."""
    try:
        prepare()
    except Refused as reason:
        return reason
    except Exception as error:
        return Refused(UI_WORKER_UNAVAILABLE, told(error))
    return None


def parse(line):
    """The JSON object on a line, or None; what is none is told on stderr."""
    try:
        request = json.loads(line) if line is not None else None
    except (ValueError, RecursionError):
        request = None
    if not isinstance(request, dict):
        if line is None or line.strip():
            print("commentd_worker: a line is no JSON object, or too long; it is ignored", file=sys.stderr)
        return None
    return request


def checked(request):
    """Author, content, hash of the post and time for the go in seconds, or Refused."""
    for name in ("author", "sns_id", "content", "reply_to", "content_hash"):
        if not isinstance(request.get(name, ""), str):
            raise Refused(INVALID_COMMAND, f"{name} must be a text")
    not_after_ms = request.get("not_after_ms")
    if isinstance(not_after_ms, bool) or not isinstance(not_after_ms, (int, float)) or not_after_ms < 0:
        raise Refused(INVALID_COMMAND, "not_after_ms must be a number of milliseconds")
    if not request.get("content"):
        raise Refused(INVALID_COMMAND, "content is empty")
    if request.get("reply_to"):
        raise Refused(NOT_IMPLEMENTED, "this worker can't answer a comment, only comment on a post")
    if not request.get("author"):
        raise Refused(NOT_IMPLEMENTED, "this worker finds a post by its author, and none is named")
    content_hash = request.get("content_hash", "")
    if content_hash and len(content_hash) < HASH_LENGTH:
        raise Refused(INVALID_COMMAND, f"content_hash must have the first {HASH_LENGTH} letters of the post's fingerprint")
    return request["author"], request["content"], content_hash, min(not_after_ms, MAX_WAIT_MS) / 1000


def told(error):
    """An error in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def own_stdout():
    """The protocol's stdout; from now on, whatever a library prints goes to stderr, C code included."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return sink


def find_package(folder):
    """Lets the package in this folder be imported; the folder of the package itself serves, too."""
    folder = pathlib.Path(folder).resolve()
    if (folder / "__init__.py").exists():
        folder = folder.parent
    sys.path.insert(0, str(folder))


def main():
    """Parses the command line and works until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pywechat", metavar="DIR", help="the folder that holds the package pyweixin")
    parser.add_argument(
        "--newest-post",
        action="store_true",
        help="allow to comment on the author's newest post where no content_hash says which one, whatever sns_id says",
    )
    parser.add_argument(
        "--keep-window",
        action="store_true",
        help="leave the Moments window open after a comment (by itself, the library closes it)",
    )
    parser.add_argument(
        "--module", default="pyweixin.moments_ext", help="where the functions that comment are (default: %(default)s)"
    )
    args = parser.parse_args()
    sink = own_stdout()
    # What is meant relative to here stays so when the library works in a folder of its own.
    sys.path[:] = [os.path.abspath(entry) for entry in sys.path]
    if args.pywechat:
        find_package(args.pywechat)
    automation = Pywechat(args.module, args.newest_post, args.keep_window)
    with left_nothing(), contextlib.suppress(BrokenPipeError):  # commentd is gone
        Worker(automation, sys.stdin.buffer, sink).run()


if __name__ == "__main__":
    main()
