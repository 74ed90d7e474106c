"""What was measured, a JSON file a part, in a folder a commit."""

import datetime
import json
import subprocess

from . import PARTS


def commit_of(root):
    """The commit, and whether something was changed since."""

    def git(*args):
        return subprocess.check_output(["git", "-C", str(root), *args], text=True).strip()

    return git("rev-parse", "HEAD"), bool(git("status", "--porcelain", "--untracked-files=no"))


class Results:
    """The results of one commit. Those of a run that says nothing of a commit are kept, too, but not gone on with."""

    def __init__(self, root, *, quick, given):
        self.commit, self.dirty = commit_of(root)
        marks = [("dirty", self.dirty), ("quick", quick), ("given", given)]
        name = "-".join([self.commit[:12], *(mark for mark, holds in marks if holds)])
        self.folder = root / ".work" / "bench" / name
        self.folder.mkdir(parents=True, exist_ok=True)
        self.place = self.folder.relative_to(root)
        self.kept = not any(holds for _, holds in marks)
        if not self.kept:
            for part in PARTS:
                self._file(part).unlink(missing_ok=True)

    def _file(self, part):
        return self.folder / f"{part}.json"

    def log(self, name):
        return self.folder / f"{name}.log"

    def get(self, part):
        """What was kept of a part: `at`, `machine`, `command` and `result`; None if it isn't there."""
        file = self._file(part)
        return json.loads(file.read_text()) if file.exists() else None

    def keep(self, part, machine, command, result):
        now = datetime.datetime.now(datetime.timezone.utc)
        kept = {"at": f"{now:%Y-%m-%d %H:%M} UTC", "machine": machine, "command": command, "result": result}
        half = self._file(part).with_suffix(".half")
        half.write_text(json.dumps(kept, indent=2))
        half.rename(self._file(part))
