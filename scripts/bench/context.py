"""What every part is given: options, tools, builds, and a folder on a real disk."""

import datetime
import os
import subprocess
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from . import Refused, figures

OHA = "1.16.0"


def say(text):
    print(f"== {datetime.datetime.now():%H:%M:%S} {text}", flush=True)


@dataclass(frozen=True)
class Build:
    """A commentd to be measured. `name` is empty where there is only one."""

    name: str
    path: Path
    dist: bool

    def subject(self, name):
        return figures.of(self.name, name)


@dataclass
class Context:
    """Tools and builds are looked for, and installed, when a part first asks: not each needs all."""

    root: Path
    quick: bool
    repeats: int
    rows: int
    results: object
    #: For ledgers, configurations and logs: on a disk, empty at the start of each part, removed at its end.
    scratch: Path
    given_oha: str | None = None
    given_builds: list | None = None

    @cached_property
    def nginx(self):
        return install_nginx(self)

    @cached_property
    def oha(self):
        return install_oha(self, self.given_oha)

    @cached_property
    def builds(self):
        """The commentd of this commit as it is handed to people, or those that were named on the command line."""
        if not self.given_builds:
            return [Build("", self.handed_to_people(), True)]
        return [given_build(number, word, len(self.given_builds)) for number, word in enumerate(self.given_builds)]

    def command(self, name, args, **more):
        """Runs a command of ours with its output in a log beside the results; its stdout is given back."""
        with open(self.results.log(name), "a") as log:
            ran = subprocess.run(
                [str(arg) for arg in args], cwd=self.root, stdout=subprocess.PIPE, stderr=log, text=True,
                stdin=subprocess.DEVNULL, **more,
            )
            log.write(ran.stdout)
        if ran.returncode != 0:
            raise Refused(f"{args[0]} failed (exit {ran.returncode}); see {self.results.place}/{name}.log")
        return ran.stdout

    def handed_to_people(self):
        how = ["--plain"] if self.quick else []
        say(" ".join(["scripts/dist", *how, "(about ten minutes, if it isn't there)" * (not how)]).strip())
        return Path(self.command("dist", ["scripts/dist", *how]).split()[-1])

    def build(self, *args, profile="dist"):
        """Builds something of ours with cargo and gives the folder where it is then."""
        say(f"cargo build --profile {profile} {' '.join(args)}")
        self.command("build", ["cargo", "build", "--profile", profile, "--locked", "--quiet", *args])
        # A relative CARGO_TARGET_DIR counts from where cargo ran.
        return self.root / os.environ.get("CARGO_TARGET_DIR", "target") / profile


def given_build(number, word, of):
    name, equals, path = word.partition("=")
    if not equals:
        name, path = (chr(ord("A") + number) if of > 1 else ""), word
    path = Path(path).resolve()
    if not os.access(path, os.X_OK):
        raise Refused(f"--commentd {word}: there is no program")
    return Build(name, path, False)


def on_path(name):
    """A program, also where only root's PATH looks."""
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/sbin", "/sbin"]
    found = [Path(folder) / name for folder in folders if os.access(Path(folder) / name, os.X_OK)]
    return found[0] if found else None


def install_nginx(context):
    packages = ["apt-get", "install", "--yes", "--quiet", "--no-install-recommends", "nginx-light"]
    if on_path("nginx") is None:
        if os.geteuid() != 0:
            raise Refused(f"nginx isn't installed; run as root: {' '.join(packages)}")
        say("nginx, by apt")
        # In runlevel 1 the package doesn't start a server of its own on port 80.
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
        context.command("install", ["apt-get", "update", "--quiet"], env=env)
        context.command("install", packages, env=env)
    found = on_path("nginx")
    if found is None:
        raise Refused("apt installed nginx, and yet there is none on the PATH")
    return found


def is_oha(path):
    said = subprocess.run([path, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL).stdout
    return said.split() == ["oha", OHA]


def install_oha(context, given):
    if given is not None:
        if not os.access(given, os.X_OK):
            raise Refused(f"--oha {given}: there is no program")
        return Path(given).resolve()
    ours = context.root / ".work" / "bin" / "oha"
    for found in (ours, on_path("oha")):
        if found and found.exists() and is_oha(found):
            return found
    say(f"oha {OHA}, by cargo: takes about five minutes, once")
    args = ["cargo", "install", "--locked", "--quiet", "--root", ".work", "--target-dir", ".work/target"]
    context.command("install", [*args, f"oha@{OHA}"])
    return ours
