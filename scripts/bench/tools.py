"""What every part is given: tools, builds, the machine, and a folder on a real disk."""

import os
import platform
import resource
import shutil
import statistics
import subprocess
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from shared import ROOT, Refused, say

OHA = "1.16.0"
# A ledger there would show no fsync.
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs")


@dataclass(frozen=True)
class Build:
    """A commentd to be measured. `name` is empty where there is only one."""

    name: str
    path: Path
    is_dist: bool = False

    def subject(self, kind):
        return f"{kind} [{self.name}]" if self.name else kind


@dataclass
class Bench:
    """Tools and builds are looked for, and installed, when a part first asks: not each needs all."""

    quick: bool
    repeats: int
    rows: int
    results: object
    #: For ledgers, configurations and logs: on a disk, empty at the start of each part, removed at its end.
    scratch: Path
    given_oha: Path | None = None
    given_builds: tuple = ()

    @cached_property
    def nginx(self):
        # Also where only root's PATH looks.
        found = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"]))
        if found is None:
            # In runlevel 1 the package doesn't start a server of its own on port 80.
            raise Refused("nginx isn't installed; as root: RUNLEVEL=1 apt-get install --yes nginx-light")
        return found

    @cached_property
    def oha(self):
        ours = ROOT / ".work/bin/oha"
        for found in filter(None, (self.given_oha, ours if ours.exists() else None, shutil.which("oha"))):
            if found == self.given_oha or version([found, "--version"]).split() == ["oha", OHA]:
                return found
        raise Refused(f"oha {OHA} isn't installed; in about five minutes: cargo install --locked --root .work oha@{OHA}")

    @cached_property
    def builds(self):
        """The commentd of this commit as it is handed to people, or those that were named on the command line."""
        if self.given_builds:
            return self.given_builds
        say("scripts/dist (about ten minutes, if it isn't there)")
        printed = self.results.must_run("dist", ["scripts/dist", *(["--plain"] if self.quick else [])])
        return [Build("", Path(printed.split()[-1]), True)]


def given_builds(words):
    """`[NAME=]PATH` for each build to be compared."""
    found = []
    for number, word in enumerate(words):
        name, equals, path = word.rpartition("=")
        path = Path(path).resolve()
        if not os.access(path, os.X_OK):
            raise Refused(f"--commentd {word}: there is no program")
        found.append(Build(name if equals or len(words) == 1 else chr(ord("A") + number), path))
    return found


def version(args):
    ran = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (ran.stdout + ran.stderr).strip().removeprefix("nginx version: ")


def prepare_machine(folder):
    """Refuses a disk that is none, and allows the files that thousands of connections take; what we start inherits it."""
    if (kind := filesystem(folder)[1]) in MEMORY_FILESYSTEMS:
        raise Refused(f"{folder} is on {kind}: a durable ledger there costs nothing; move the repository to a disk")
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def filesystem(folder):
    """The device and the type of the file system that holds a folder."""
    mounts = (line.split()[:3] for line in Path("/proc/mounts").read_text().splitlines())
    holding = [(len(mount), device, kind) for device, mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    return max(holding)[1:] if holding else ("unknown", "unknown")


def describe(folder):
    """What the figures are measured on, for the page."""
    models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    model = models[0].split(":", 1)[1].strip() if models else platform.machine()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = f"{platform.system()} {platform.release()}"
    return f"{model}, {cores()} cores, {memory / 1e9:.0f} GB; {system}; ledgers on {' '.join(filesystem(folder))}"


def cores():
    return len(os.sched_getaffinity(0))


def busy_s():
    """Processor seconds since boot that weren't idle, of all programs, and those that a hypervisor took away."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def children_s():
    """Processor seconds of our own children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fsync_ms(folder, count=200):
    """What one durable write takes: 4 KiB written over old ones and synced, as a commit does. The median, in ms."""
    page, pages, times = os.urandom(4096), 256, []
    file = folder / "fsync"
    with open(file, "wb", buffering=0) as disk:
        disk.write(page * pages)
        os.fsync(disk.fileno())
        for turn in range(count):
            start = time.perf_counter()
            os.pwrite(disk.fileno(), page, 4096 * (turn % pages))
            os.fdatasync(disk.fileno())
            times.append(1000 * (time.perf_counter() - start))
    file.unlink()
    return statistics.median(times)
