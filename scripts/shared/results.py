"""What a long run found out, a JSON file a step, in a folder a commit: a step that has its file isn't run again."""

import json
import subprocess

from . import ROOT, Refused


def git(*args):
    return subprocess.check_output(["git", "-C", str(ROOT), *args], text=True).strip()


def is_changed():
    return bool(git("status", "--porcelain", "--untracked-files=no"))


class Results:
    """The results of one commit, with the logs of what was run. `marks` tell runs that say nothing of a commit."""

    def __init__(self, kind, *marks, commit="HEAD"):
        self.commit, self.is_changed = git("rev-parse", commit), is_changed()
        marks = [*(["dirty"] if self.is_changed else []), *marks]
        self.folder = ROOT / ".work" / kind / "-".join([self.commit[:12], *marks])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.place = self.folder.relative_to(ROOT)
        self.failures = []

    def file(self, name):
        return self.folder / f"{name}.json"

    def get(self, name):
        return json.loads(self.file(name).read_text()) if self.file(name).exists() else None

    def keep(self, name, result):
        half = self.file(name).with_suffix(".half")
        half.write_text(json.dumps(result, indent=2))
        half.rename(self.file(name))

    def run(self, name, args, **how):
        """Runs a command of ours with all that it prints in a log; gives its exit code and its stdout."""
        args = [str(arg) for arg in args]
        with open(self.folder / f"{name}.log", "a") as log:
            how = {"stderr": log, **how}
            ran = subprocess.run(args, cwd=ROOT, stdout=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL, **how)
            log.write(ran.stdout)
        return ran.returncode, ran.stdout

    def must_run(self, name, args, **how):
        code, printed = self.run(name, args, **how)
        if code != 0:
            raise Refused(f"{args[0]} failed (exit {code}); see {self.place}/{name}.log")
        return printed
