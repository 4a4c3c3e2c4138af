"""Budgets: reading and printing them, and what the system leaves to this process."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrevolve import available_memory, budget
from pyrevolve.budget import default_budget, format_bytes, parse_bytes

GIB = 1 << 30


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("1024", 1024),
        ("1 B", 1),
        ("8 GiB", 8 * GIB),
        ("8GiB", 8 * GIB),
        (" 8 gib ", 8 * GIB),
        ("500 MB", 500_000_000),
        ("1.5 kB", 1500),
        ("1.5 KiB", 1536),
        (".5 TiB", GIB * 512),
        ("2e9", 2_000_000_000),
        ("1_000 B", 1000),
        ("1 PB", 10**15),
        ("1 EiB", 1 << 60),
        ("0.9 B", 0),
        ("0.1 GB", 100_000_000),
        (7, 7),
        (7.9, 7),
        (np.int32(7), 7),
        (np.float32(2.5), 2),
        (8e9, 8_000_000_000),
        (1 << 70, 1 << 70),
    ],
)
def test_sizes(text, size):
    parsed = parse_bytes(text)
    assert parsed == size
    assert type(parsed) is int


@pytest.mark.parametrize(
    "value",
    [
        *(
            "",
            "GiB",
            "8 G",
            "8 g",
            "8 GiBs",
            "eight GiB",
            "8 8",
            "0x10",
            "-1",
            "-1 GiB",
            "nan",
            "inf",
            "1e999999999",
        ),
        *(-1, -0.5, float("nan"), float("inf"), -float("inf")),
    ],
)
def test_sizes_that_are_none(value):
    with pytest.raises(ValueError, match="scratch must be"):
        parse_bytes(value, "scratch")


@pytest.mark.parametrize("value", [None, True, [1], 1j, b"8 GiB", np.array([1, 2])])
def test_things_that_are_no_size(value):
    with pytest.raises(TypeError, match="memory must be"):
        parse_bytes(value)


@given(st.integers(0, 1 << 62))
def test_printed_sizes_read_back(size):
    printed = format_bytes(size)
    assert parse_bytes(printed) == pytest.approx(size, rel=6e-4)
    assert size >= 10240 or parse_bytes(printed) == size


# --- what is free ---------------------------------------------------------------------------------------


def system(root, meminfo="MemTotal: 100 kB\nMemAvailable: 64 kB\n", **files):
    """Write a /proc and a /sys; files are named with their slashes."""
    for name, text in {"proc/meminfo": meminfo, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return budget._linux_memory(root)


V2_MOUNT = "30 23 0:26 {root} /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 31 0:32 {root} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
OTHER_MOUNTS = (
    "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n33 31 0:30 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\nodd\n"
)


def group2(folder, maximum, current, inactive_file=0, high="max"):
    return {
        f"{folder}/memory.max": f"{maximum}\n",
        f"{folder}/memory.high": f"{high}\n",
        f"{folder}/memory.current": f"{current}\n",
        f"{folder}/memory.stat": f"anon 5\ninactive_file {inactive_file}\nactive_file 7\n",
    }


def group1(folder, maximum, current, inactive_file=0):
    return {
        f"{folder}/memory.limit_in_bytes": f"{maximum}\n",
        f"{folder}/memory.usage_in_bytes": f"{current}\n",
        f"{folder}/memory.stat": f"inactive_file 1\ntotal_inactive_file {inactive_file}\n",
    }


def test_machine_without_limits(tmp_path):
    assert system(tmp_path) == 64 * 1024


def test_old_kernel_without_mem_available(tmp_path):
    assert system(tmp_path, "MemFree: 8 kB\nInactive(file): 4 kB\n") == 12 * 1024


def test_nothing_to_tell_the_free_memory(tmp_path):
    with pytest.raises(OSError, match="PYREVOLVE_MEMORY"):
        system(tmp_path, "")


def test_group_of_version_2(tmp_path):
    top = "sys/fs/cgroup"
    files = {"proc/self/cgroup": "0::/job\n", "proc/self/mountinfo": OTHER_MOUNTS + V2_MOUNT.format(root="/")}
    assert system(tmp_path, **files, **group2(f"{top}/job", 40_000, 15_000, 5_000)) == 30_000
    assert system(tmp_path, **group2(f"{top}/job", "max", 15_000)) == 64 * 1024
    assert system(tmp_path, **group2(f"{top}/job", "max", 15_000, high=20_000)) == 5_000
    assert system(tmp_path, **group2(f"{top}/job", 40_000, 50_000)) == 0  # above its limit: nothing is left


def test_every_group_up_to_the_root_counts(tmp_path):
    top = "sys/fs/cgroup"
    files = {"proc/self/cgroup": "0::/a/b/c\n", "proc/self/mountinfo": V2_MOUNT.format(root="/")}
    files |= group2(f"{top}/a", 30_000, 21_000, 1_000)
    files |= group2(f"{top}/a/b", "max", 3_000)
    files |= group2(f"{top}/a/b/c", 20_000, 2_000)
    assert system(tmp_path, **files) == 10_000


def test_container_that_sees_its_own_group_as_the_top(tmp_path):
    top = "sys/fs/cgroup"
    mounted = {"proc/self/mountinfo": V2_MOUNT.format(root="/docker/abc"), **group2(top, 40_000, 10_000)}
    for path in ("/docker/abc", "/docker/other", "/", "/../other"):
        assert system(tmp_path, **{"proc/self/cgroup": f"0::{path}\n"}, **mounted) == 30_000
    inner = group2(f"{top}/step", 20_000, 10_000)
    assert system(tmp_path, **{"proc/self/cgroup": "0::/docker/abc/step\n"}, **mounted, **inner) == 10_000


def test_group_of_version_1(tmp_path):
    top = "sys/fs/cgroup/memory"
    groups = "5:cpu,cpuacct:/job\n4:memory:/job/step\n1:name=systemd:/init\n0::/\n"
    files = {
        "proc/self/cgroup": groups,
        "proc/self/mountinfo": V1_MOUNT.format(root="/") + V2_MOUNT.format(root="/"),
    }
    files |= group1(top, 9223372036854771712, 50_000)
    files |= group1(f"{top}/job", 45_000, 30_000, 10_000)
    assert system(tmp_path, **files, **group1(f"{top}/job/step", 9223372036854771712, 20_000)) == 25_000
    assert system(tmp_path, **files, **group1(f"{top}/job/step", 22_000, 20_000)) == 2_000


def test_mount_point_with_a_space(tmp_path):
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 23 0:26 / /c\\040g rw - cgroup2 none rw\n",
    }
    assert system(tmp_path, **files, **group2("c g", 40_000, 10_000)) == 30_000


def test_limit_on_the_address_space(tmp_path):
    header = "Limit  Soft Limit  Hard Limit  Units\n"
    files = {"proc/self/status": "Name: python\nVmSize:\t 10 kB\n"}
    limited = {"proc/self/limits": header + "Max address space  30720  unlimited  bytes\n"}
    assert system(tmp_path, **files, **limited) == 20 * 1024
    unlimited = {"proc/self/limits": header + "Max address space  unlimited  unlimited  bytes\n"}
    assert system(tmp_path, **files, **unlimited) == 64 * 1024


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads this machine's /proc: Linux only")
def test_this_machine():
    with open("/proc/meminfo") as meminfo:
        total = next(int(line.split()[1]) * 1024 for line in meminfo if line.startswith("MemTotal"))
    assert 0 < available_memory() <= total


def test_vm_stat_of_macos():
    output = (
        "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:                               3000.\n"
        "Pages active:                           500000.\n"
        "Pages inactive:                           2000.\n"
        "Pages speculative:                        1000.\n"
        "Pages wired down:                       100000.\n"
    )
    assert budget._vm_stat_memory(output) == 6000 * 16384
    with pytest.raises(OSError, match="vm_stat"):
        budget._vm_stat_memory("")


# --- the default ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        (None, 500),
        ("", 500),
        (" ", 500),
        ("25%", 250),
        ("12.5 %", 125),
        ("100%", 1000),
        ("0%", 0),
        ("2 kB", 2000),
    ],
)
def test_default_budget(monkeypatch, setting, expected):
    monkeypatch.setattr(budget, "available_memory", lambda: 1000)
    if setting is None:
        monkeypatch.delenv("PYREVOLVE_MEMORY", raising=False)
    else:
        monkeypatch.setenv("PYREVOLVE_MEMORY", setting)
    assert default_budget() == expected


@pytest.mark.parametrize("setting", ["lots", "120%", "-5%", "-1", "8 G", "%"])
def test_default_budget_that_cannot_be_read(monkeypatch, setting):
    monkeypatch.setenv("PYREVOLVE_MEMORY", setting)
    with pytest.raises(ValueError, match="PYREVOLVE_MEMORY"):
        default_budget()
