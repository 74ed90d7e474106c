#!/usr/bin/env python3
"""A UI worker of commentd for pywechat: comments on the newest Moments post of a friend.

commentd starts it (--real-ui-command) and speaks JSON lines with it over stdin and stdout:

    commentd > {"id","cmd":"comment","author","sns_id","content","reply_to","not_after_ms"}
    worker   > {"id","event":"ready"}
    commentd > {"go":id}
    worker   > {"id","ok":true}  or  {"id","ok":false,"error_code","error_message"}
    commentd > {"id","cmd":"ping"}
    worker   > {"id","ok":true}  or  {"id","ok":false,...}: why it can't comment now

Before `go` nothing is clicked; after it there is exactly one reply, whatever happens. See README.md.
"""

import argparse
import importlib
import json
import os
import queue
import sys
import threading
import time

# Codes of commentd's contract. After `go`, 56 means: nobody knows whether the comment landed.
INVALID_COMMAND = 10
NOT_IMPLEMENTED = 31
OUTCOME_UNKNOWN = 56
DEADLINE_EXCEEDED = 62
UI_WORKER_UNAVAILABLE = 65

MAX_LINE_BYTES = 1 << 20
MAX_WAIT_MS = 600_000
FUNCTION = "comment_friend_moment"


class Refused(Exception):
    """Why a comment isn't even prepared; nothing was clicked."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code


class Pywechat:
    """The fork's function that comments, found when it is first needed."""

    def __init__(self, module, newest_post):
        self.module = module
        self.newest_post = newest_post
        self.function = None

    def prepare(self):
        """Finds everything that a comment needs.

        Raises Refused with the reason. Clicks nothing.
        """
        if not self.newest_post:
            raise Refused(
                UI_WORKER_UNAVAILABLE,
                "this worker can only comment on an author's newest post, which may be the wrong one; "
                "start it with --newest-post to allow that",
            )
        if self.function is None:
            try:
                module = importlib.import_module(self.module)
            except BaseException as error:  # whatever a library does while it loads
                raise Refused(UI_WORKER_UNAVAILABLE, f"{self.module} can't be loaded: {told(error)}") from None
            function = getattr(module, FUNCTION, None)
            if not callable(function):
                raise Refused(
                    UI_WORKER_UNAVAILABLE,
                    f"{self.module} has no {FUNCTION}(friend, comment_text): this pywechat can't comment",
                )
            self.function = function
        reason = why_session_cant_click()
        if reason:
            raise Refused(UI_WORKER_UNAVAILABLE, reason)

    def comment(self, author, content):
        """Comments. True if the library says that it is there."""
        return self.function(friend=author, comment_text=content) is True


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


class Worker:
    """Reads requests, and writes the protocol's lines and nothing else."""

    def __init__(self, automation, source, sink):
        self.automation = automation
        self.sink = sink
        self.lines = queue.Queue()
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
            self._end(name, self._why_not())
        elif command == "comment" and isinstance(name, str) and name:
            return self._comment(request, name, arrived)
        elif "go" not in request:
            # A `go` that nobody waits for is too late; anything else is a mistake.
            self._end(name, Refused(INVALID_COMMAND, f"no command of this worker: {command!r}"))
        return None

    def _why_not(self):
        try:
            self.automation.prepare()
        except Refused as reason:
            return reason
        except Exception as error:
            return Refused(UI_WORKER_UNAVAILABLE, told(error))
        return None

    def _comment(self, request, name, arrived):
        try:
            author, content, patience_s = checked(request)
        except Refused as reason:
            self._end(name, reason)
            return None
        reason = self._why_not()
        if reason:
            self._end(name, reason)
            return None
        self._write({"id": name, "event": "ready"})
        try:
            item = self.lines.get(timeout=max(arrived + patience_s - time.monotonic(), 0))
        except queue.Empty:
            self._end(name, Refused(DEADLINE_EXCEEDED, "no go in time; nothing was clicked"))
            return None
        if item is None:
            # commentd is gone: nobody may click any more.
            self.lines.put(None)
            return None
        if (parse(item[0]) or {}).get("go") != name:
            self._end(name, Refused(DEADLINE_EXCEEDED, "something else came instead of the go; nothing was clicked"))
            return item
        self._click(name, author, content)
        return None

    def _click(self, name, author, content):
        ended = None
        unknown = None
        try:
            if not self.automation.comment(author, content):
                unknown = f"{FUNCTION} doesn't say that the comment is there"
        except Exception as error:
            unknown = told(error)
        except BaseException as error:  # SystemExit, KeyboardInterrupt: the reply comes first
            unknown, ended = told(error), error
        self._end(name, Refused(OUTCOME_UNKNOWN, unknown) if unknown else None)
        if ended:
            raise ended

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
    """Author, content and time for the go in seconds, or Refused."""
    for name in ("author", "sns_id", "content", "reply_to"):
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
    return request["author"], request["content"], min(not_after_ms, MAX_WAIT_MS) / 1000


def told(error):
    """An error in a line."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


def own_stdout():
    """The protocol's stdout; from now on, whatever a library prints goes to stderr, C code included."""
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return sink


def main():
    """Parses the command line and works until stdin ends."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--newest-post",
        action="store_true",
        help="allow to comment on the author's newest post, whatever sns_id says",
    )
    parser.add_argument("--module", default="pyweixin.moments_ext", help=f"where {FUNCTION} is (default: %(default)s)")
    args = parser.parse_args()
    sink = own_stdout()
    try:
        Worker(Pywechat(args.module, args.newest_post), sys.stdin.buffer, sink).run()
    except BrokenPipeError:
        pass  # commentd is gone


if __name__ == "__main__":
    main()
