"""What the figures were measured on."""

import os
import platform
import resource
import statistics
import subprocess
import time
from pathlib import Path

from . import Refused

# A ledger there would show no fsync.
MEMORY_FILESYSTEMS = ("tmpfs", "ramfs", "overlay-tmpfs")


def allow_many_files():
    """Thousands of connections need as many files; a shell often allows 1024. Whatever we start inherits it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def load_average():
    """Of the last minute: how many tasks ran or waited to run."""
    return os.getloadavg()[0]


def cores():
    return len(os.sched_getaffinity(0))


def busy_s():
    """Processor seconds since boot that weren't idle, of all programs, and those that a hypervisor took away."""
    user, nice, system, _, _, irq, softirq, steal = map(int, Path("/proc/stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def version(args):
    """What a program says of its version, in a word or two."""
    ran = subprocess.run([str(arg) for arg in args], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    return (ran.stdout + ran.stderr).strip().removeprefix("nginx version: ")


def processor():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()


def filesystem(folder):
    """The device and the type of the file system that holds a folder."""
    at = folder.resolve()
    best = ("", "unknown", "unknown")
    for line in Path("/proc/mounts").read_text().splitlines():
        device, mount, kind = line.split()[:3]
        inside = at.is_relative_to(mount.replace("\\040", " "))
        if inside and len(mount) >= len(best[0]):
            best = (mount, device, kind)
    return {"device": best[1], "type": best[2]}


def describe(folder):
    return {
        "processor": processor(),
        "cores": cores(),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "load_at_start": load_average(),
        "disk": filesystem(folder),
    }


def refuse_memory_filesystem(folder):
    kind = filesystem(folder)["type"]
    if kind in MEMORY_FILESYSTEMS:
        raise Refused(f"{folder} is on {kind}: a durable ledger there costs nothing; move the repository to a disk")


def fsync_ms(folder, count=200):
    """What one durable write takes: 4 KiB written over old ones and synced, as a commit does. In ms, each."""
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
    return {"p50": statistics.median(times), "p99": statistics.quantiles(times, n=100)[98]}
