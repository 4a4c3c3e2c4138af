"""The command line: what it says, what it returns, and that it plans as the library does."""

from __future__ import annotations

import concurrent.futures
import csv
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

import pyrevolve
from pyrevolve.cli import COMMANDS, main, reported
from pyrevolve.cli.output import whole_file
from pyrevolve.cli.quantities import (
    parse_count,
    parse_duration,
    parse_shape,
    parse_transfer,
)
from pyrevolve.quantities import time_text


def run(*arguments, **options):
    """Run the command in a process of its own."""
    return subprocess.run(
        [sys.executable, "-m", "pyrevolve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


# --- the program --------------------------------------------------------------------------------------------


def test_the_main_help_names_every_command_and_the_version_is_told(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    for name, command in COMMANDS.items():
        assert f"{name} " in said
        assert command.summary in said
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"pyrevolve {pyrevolve.__version__}\n"


@pytest.mark.parametrize("command", ["plan", "show", "doctor", "demo"])
def test_every_command_has_a_help_of_its_own(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: pyrevolve {command} ")
    assert command == "demo" or f"\n  pyrevolve {command} " in said  # an example


def test_nothing_given_is_wrong_and_shows_the_help(capsys):
    assert main([]) == 2
    assert "commands:" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("nonsense", "invalid choice"),
        ("plan 10", "--shape"),
        ("plan 10 --state-bytes 8 --shape 4x4", "--shape"),
        ("plan 2.5 --shape 4x4", "whole number"),
        ("plan 10 --shape 4y4", "numbers of points"),
        ("plan 10 --shape 400x400 --memory 1kB", "--memory must be >="),
        ("plan 10 --shape 400x400 --memory -5MB", "got '-5MB'"),
        ("plan 0 --shape 400x400 --memory 5MB", "N must be >= 1"),
        ("plan 10 --shape 400x400 --memory 5MB --window 3", "unrecognized arguments: --window 3"),
        (
            "plan 9 --state-bytes 1MB --window-slice-bytes 1MB --memory 5MB --compression 4,1s,1s",
            "seconds; give",
        ),
        ("plan 10 --shape 9x9 --memory 5MB --forward-step 1e305", "between 1e-15 and 1e12 seconds"),
        ("plan 10 --shape 9x9 --memory 5MB --forward-step 1e-300", "between 1e-15 and 1e12 seconds"),
        ("plan 10 --shape 9x9 --memory 5MB --dtype str", "number type"),
        ("plan 10 --shape 9x9 --memory 5MB --dtype V0", "number type"),
        ("plan 10 --shape 9x9 --memory 5MB --dtype M8[s]", "number type"),
        ("plan 10 --shape 9x9 --memory 5MB --curve --points 1e6", "from 0 to 1000"),
        ("show revolve 10 -s 2 --save 1Gb/s", "means bits"),
        ("show revolve 10 -s 2 --save 1GB/s --forward-step 1", "no schedule knows"),
        ("show revolve 10 -s 2 --width 1e30", "from 0 to 10000"),
        ("show revolve 10 -s 0", "show revolve: error: --snapshots must be >= 1"),
        ("show revolve 10 -s 2 --window 0", "--window must be >= 1"),
        ("show multistage 10 -s 0 --on-disk 0", "--snapshots and --on-disk are both 0"),
        ("show hrevolve 10 --slots 0,0", "--slots are 0 in every tier, but 10 timesteps that a window of 1"),
        (
            "show cams 10 --units 0 --stages 2",
            "more than one timestep, got 0 for N=10",
        ),
        ("show hrevolve 10 --slots -1,2", "got '-1'"),
        ("plan 10 --shape 4x4 --memory lots", "a size"),
        ("plan 10 --shape 4x4 --memory 1MB --save 3ms", "--forward-step"),
        ("plan 10 --shape 4x4 --memory 1MB --forward-step 3parsecs", "a time"),
        ("plan 10 --shape 4x4 --memory 1MB --costs /nowhere/costs.json", "cannot read"),
        ("plan 10 --shape 4x4 --memory 1MB --disk-dir /tmp", "--disk"),
        ("plan 10 --shape 4x4 --memory 1MB --curve here.txt", ".csv"),
        ("plan 10 --shape 4x4 --memory 1MB --show here.txt", ".html"),
        ("plan 10 --shape 4x4 --memory 1MB --show nodir/here.html", "no directory nodir"),
        ("plan 10 --shape 4x4 --memory 1MB --curve nodir/here.svg", "no directory nodir"),
        ("plan 10 --shape 4x4 --memory 1MB --curve --points 1", "points must be >= 2"),
        ("plan 10 --shape 4x4 --lookback 3 --memory 1MB", "--lookback"),
        ("plan 10 --dtype nonsense --shape 4x4 --memory 1MB", "--dtype"),
        ("show revolve 10", "--snapshots"),
        ("show revolve 10 -s 0", "snapshots must be >= 1"),
        ("show revolve 10 -s 2 --period 3", "--period"),
        ("show revolve 10 -s 2 -o picture.bmp", ".html"),
        ("show hrevolve 10 --slots 1,2,3", "3 tiers"),
        ("show revolve 10 -s 2 -o nodir/picture.png", "no directory nodir"),
        ("doctor nonsense", "must be one of"),
        ("plan 10 --shape 4x4 --memory 1MB --compression 4", "a ratio and two times"),
        ("plan 10 --shape 4x4 --memory 1MB --points 3", "--points is of no use without --curve"),
        ("plan 10 --shape 4x4 --memory 1MB --disk 1MB --disk-dir nodir", "there is no directory nodir"),
        ("demo --memory lots", "--memory"),
        ("demo --model nofile.npy", "there is no file nofile.npy"),
        ("demo --shape 20x20", "--shape is that of a raw file"),
        ("demo --f0 1000", "grid points in its shortest wavelength"),
        ("demo --shape 16,1.5", "numbers of points"),
        ("demo --nonsense", "unrecognized arguments"),
    ],
)
def test_what_is_wrong_is_said_in_one_line_and_gives_2(arguments, said, capsys):
    try:
        status = main(arguments.split())
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    printed = capsys.readouterr()
    (line,) = printed.err.splitlines()
    assert line.startswith("pyrevolve")
    assert ": error: " in line
    assert said in line
    assert printed.out == ""


def run_into(output, arguments):
    """Run the command with this standard output, which is buffered whatever the environment says."""
    return subprocess.run(
        [sys.executable, "-m", "pyrevolve", *arguments.split()],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
@pytest.mark.parametrize("arguments", ["plan 10 --shape 9x9 --memory 1MB --json", "plan --help", "--version"])
def test_a_full_disk_behind_standard_output(arguments):
    with open("/dev/full", "w") as full:
        done = run_into(full, arguments)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "cannot write to standard output" in line


@pytest.mark.skipif(os.name != "posix", reason="pipes are those of POSIX")
@pytest.mark.parametrize("where", ["pipe", "/dev/full", os.devnull])
def test_an_error_is_told_whatever_becomes_of_standard_output(where):
    if where == "pipe":
        read, write = os.pipe()
        os.close(read)
    elif os.path.exists(where):
        write = os.open(where, os.O_WRONLY)
    else:
        pytest.skip(f"needs {where}")
    arguments = "plan 99 --shape 9x9 --memory 1MB --curve /proc/a.csv"
    try:
        done = run_into(write, arguments)
    finally:
        os.close(write)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert "/proc/a.csv" in line


@pytest.mark.skipif(os.name != "posix", reason="closes standard output as shells of POSIX do")
def test_no_standard_output(tmp_path):
    page = tmp_path / "a.html"
    command = f"{sys.executable} -m pyrevolve show revolve 20 -s 3 -o {page} >&-"
    done = subprocess.run(["/bin/sh", "-c", command], stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, f"written: {page}\n")


@pytest.mark.skipif(sys.platform != "linux", reason="limits the size of files as Linux does")
@pytest.mark.parametrize(
    "arguments", ["show revolve 20000 -s 20 -o a.html", "plan 900 --shape 99x99 --curve a.csv"]
)
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(arguments, tmp_path):
    import resource

    name = arguments.rpartition(" ")[2]
    (tmp_path / name).write_text("as it was")
    done = subprocess.run(
        [sys.executable, "-m", "pyrevolve", *arguments.split()],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        cwd=tmp_path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)),
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 1
    assert "File too large" in done.stderr.splitlines()[-1]
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name).read_text() == "as it was"


@pytest.mark.skipif(os.name != "posix", reason="looks at permissions of POSIX")
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path):
    target = tmp_path / "a"
    target.touch(0o600)
    with whole_file(target) as whole:
        whole.write_text("new")
    assert target.stat().st_mode & 0o777 == 0o600
    assert target.read_text() == "new"


def test_what_is_no_file_is_written_to_itself(tmp_path):
    target, link = tmp_path / "a", tmp_path / "b"
    link.symlink_to(target)
    with whole_file(link) as whole:
        whole.write_text("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    with whole_file(pathlib.Path(os.devnull)) as whole:
        assert whole == pathlib.Path(os.devnull)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_what_fails_gives_1(tmp_path, capsys):
    directory = tmp_path / "page.html"
    directory.mkdir()
    assert main(["show", "revolve", "10", "-s", "2", "-o", str(directory)]) == 1
    assert "Is a directory" in capsys.readouterr().err


def test_files_that_are_written_are_named_and_standard_output_is_left_to_json(tmp_path, capsys):
    page, curve = tmp_path / "page.html", tmp_path / "curve.csv"
    plan = f"plan 50 --shape 30x30 --memory 200kB --json --curve {curve} --show {page}"
    assert main(plan.split()) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["plan"]["family"] == "revolve"
    assert printed.err == f"written: {curve}\nwritten: {page}\n"
    assert main(f"show revolve 20 -s 3 -o {page}".split()) == 0
    assert capsys.readouterr() == ("", f"written: {page}\n")


@pytest.mark.parametrize(("costs", "unit"), [("", " forward timesteps"), ("--forward-step 1ms", " s")])
def test_every_time_of_a_plan_has_a_unit(costs, unit, capsys):
    assert main(f"plan 5000 --shape 300x300 --memory 8MB --disk 100MB {costs}".split()) == 0
    said = capsys.readouterr().out
    words = said.partition("(RAM, disk:")[2]
    times = re.findall(r"takes?(?: the time of)? ([\d.]+)([^\d.,;]*)", words)
    assert len(times) == 4
    assert all(told.startswith(unit) for _, told in times), times
    assert ("time [s]" if costs else "time [steps]") in said
    assert not re.search(r"\de[+-]?\d", said)


def test_a_traceback_is_shown_where_it_is_asked_for(monkeypatch):
    monkeypatch.setenv("PYREVOLVE_TRACEBACK", "1")
    with pytest.raises(ValueError, match="n_snapshots"):
        main(["show", "revolve", "10", "-s", "0"])


ENDED = """
import sys, time
from pyrevolve import DiskStorage
from pyrevolve.cli import reported
import numpy as np

def run():
    with DiskStorage(2, [np.zeros(100)], directory=sys.argv[1]):
        print("ready", flush=True)
        time.sleep(100)
    return 0

sys.exit(reported("pyrevolve test", run))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
@pytest.mark.parametrize(
    ("number", "status", "said"),
    [(signal.SIGTERM, 143, "terminated\n"), (signal.SIGINT, 130, "interrupted\n")],
)
def test_command_that_is_ended_cleans_up(number, status, said, tmp_path):
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as in the background
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", ENDED, str(tmp_path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, heard)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    assert list(tmp_path.iterdir())
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (status, said)
    assert not list(tmp_path.iterdir())


def test_signals_are_left_to_whoever_has_chosen():
    def mine(number, frame):
        raise AssertionError

    for chosen in (mine, signal.SIG_IGN, signal.SIG_DFL):
        before = signal.signal(signal.SIGTERM, chosen)
        try:
            assert reported("test", lambda: 0) == 0
            with concurrent.futures.ThreadPoolExecutor(1) as pool:
                assert pool.submit(reported, "test", lambda: 3).result() == 3
            assert signal.getsignal(signal.SIGTERM) == chosen
        finally:
            signal.signal(signal.SIGTERM, before)


def test_a_reader_that_closes_the_pipe_is_no_failure():
    process = subprocess.Popen(
        [sys.executable, "-m", "pyrevolve", "show", "revolve", "1000000", "-s", "50", "--instructions"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.readline() == "SAVE(t=0, tier=0, slot=0)\n"
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 0


def test_a_help_that_nobody_reads_is_no_failure():
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pyrevolve", "plan", "--help"],
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_what_is_needed_is_imported():
    code = """
import sys
from pyrevolve.cli import main
assert main(["plan", "100", "--shape", "30x30", "--memory", "1MB"]) == 0
assert main(["show", "revolve", "30", "-s", "3"]) == 0
named = {name.partition(".")[0] for name in sys.modules}
print(*(named & {"devito", "matplotlib", "psutil", "tqdm", "distributed", "scipy"}), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr.split() == []


@pytest.mark.processes
def test_an_encoding_without_the_symbols_is_drawn_in_ascii():
    done = run("show", "revolve", "30", "-s", "3", env={"PYTHONIOENCODING": "ascii", "PATH": ""})
    assert done.returncode == 0
    assert done.stdout.isascii()
    assert "?" not in done.stdout
    assert "#" in done.stdout


# --- quantities ---------------------------------------------------------------------------------------------


def test_quantities_are_read():
    assert parse_duration("0.8ms") == pytest.approx(0.8e-3)
    assert parse_duration(" 250 us ") == parse_duration("250µs") == pytest.approx(250e-6)
    assert parse_duration("1.2e-3") == pytest.approx(1.2e-3)
    assert parse_duration("2 min") == 120
    assert parse_count("1e6") == parse_count("1_000_000") == 10**6
    assert parse_shape("401x401x201") == parse_shape("401,401, 201") == (401, 401, 201)
    assert parse_transfer("8ms").of(None) == pytest.approx(8e-3)
    assert parse_transfer("2 GB/s").of(10**9) == pytest.approx(0.5)


@pytest.mark.parametrize("text", ["", "ms", "-1s", "1 parsec", "nan", "1e"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(ValueError, match="must be a time"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["", "-3", "2.5", "x", "1e999999999", "inf", "nan"])
def test_what_is_no_count_is_refused(text):
    with pytest.raises(ValueError, match="must be a whole number"):
        parse_count(text)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 3.3e-6, 8e-4, 0.25, 1.0, 119.0, 300.0, 7300.0, 1e6])
def test_times_are_printed_as_they_are_read(seconds):
    assert parse_duration(time_text(seconds)) == pytest.approx(seconds, rel=1e-3)


# --- plan ---------------------------------------------------------------------------------------------------

COSTS = pyrevolve.Costs(
    forward_step=0.8e-3,
    reverse_step=1.2e-3,
    forward_call=16e-6,
    reverse_call=16e-6,
    save=(0.4e-3, 8e-3),
    load=(0.4e-3, 5e-3),
)
GIVEN = "--forward-step 0.8ms --reverse-step 1.2ms --save 0.4ms,8ms --load 400us,0.005"
BYTES = "--state-bytes 6.8MB --window-slice-bytes 3.4MB --lookback 2 --initial-state free"


def planned(arguments, capsys):
    assert main(["plan", *arguments.split(), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("disk", [None, 2 * 10**9])
def test_the_plan_is_that_of_the_library(disk, capsys):
    found = planned(f"3647 {BYTES} {GIVEN} --memory 150MB" + (f" --disk {disk}" if disk else ""), capsys)
    expected = pyrevolve.plan(
        3647,
        state_bytes=6_800_000,
        window_slice_bytes=3_400_000,
        lookback=2,
        initial_state="free",
        memory=150 * 10**6,
        disk=disk,
        costs=COSTS,
    )
    for name, value in found["plan"].items():
        wanted = [vars(tier) for tier in expected.tiers] if name == "tiers" else getattr(expected, name)
        assert (list(wanted) if isinstance(wanted, tuple) else wanted) == value, name
    assert [other["family"] for other in found["runners_up"]] == [o.family for o in expected.runners_up]
    assert found["costs"]["save"] == [0.4e-3, 8e-3]
    assert found["time_unit"] == "s"
    assert len(found["assumed"]) == 1
    assert "forward call 16 µs" in found["assumed"][0]


def test_the_same_is_printed_for_people(capsys):
    assert main(["plan", "3647", *BYTES.split(), *GIVEN.split(), "--memory", "150MB", "--disk", "2 GB"]) == 0
    printed = capsys.readouterr().out
    expected = pyrevolve.plan(
        3647,
        state_bytes=6_800_000,
        window_slice_bytes=3_400_000,
        lookback=2,
        initial_state="free",
        memory="150 MB",
        disk="2 GB",
        costs=COSTS,
    )
    assert expected.table() in printed
    assert expected.explain() in printed
    assert "6.485 MiB" in printed


def test_costs_of_a_file_and_of_an_earlier_answer_are_the_same_as_options(tmp_path, capsys):
    base = f"1000 {BYTES} --memory 80MB --disk 1GB"
    by_options = planned(f"{base} {GIVEN}", capsys)
    answer = tmp_path / "answer.json"
    answer.write_text(json.dumps(by_options))
    plain = tmp_path / "costs.json"
    plain.write_text(json.dumps(by_options["costs"]))
    for file in (answer, plain):
        again = planned(f"{base} --costs {file}", capsys)
        assert again["plan"] == by_options["plan"]
        assert again["assumed"] == []
    slower = planned(f"{base} --costs {plain} --forward-step 8ms", capsys)
    assert slower["costs"]["forward_step"] == 8e-3
    assert slower["costs"]["reverse_step"] == 1.2e-3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[1", "no JSON"),
        ('{"speed": 1}', "must hold"),
        ('{"forward_step": "1"}', "number of seconds"),
        ("3", "must hold"),
    ],
)
def test_files_that_hold_no_costs_are_refused(tmp_path, text, said, capsys):
    path = tmp_path / "costs.json"
    path.write_text(text)
    assert main(["plan", "10", "--shape", "9x9", "--memory", "1MB", "--costs", str(path)]) == 2
    assert said in capsys.readouterr().err


def test_what_is_not_given_is_assumed_and_said(capsys):
    found = planned("500 --shape 90x80 --memory 3MB --disk 90MB", capsys)
    assert found["time_unit"] == "forward timesteps"
    assert found["problem"]["state_bytes"] == 2 * (90 + 16) * (80 + 16) * 4  # a multiple of 64
    assert found["problem"]["window_slice_bytes"] == (90 + 16) * (80 + 16) * 4
    assert (found["problem"]["lookback"], found["problem"]["min_window"]) == (2, 3)
    said = " ".join(found["assumed"])
    for words in (
        "float32",
        "time order 2",
        "space order 8",
        "lookback 2",
        "nothing was measured",
        "save to disk 12",
    ):
        assert words in said


def test_bandwidths_are_times_of_a_state(capsys):
    found = planned(
        "500 --state-bytes 8MB --window-slice-bytes 4MB --memory 99MB --disk 1GB --forward-step 1ms "
        "--save 8GB/s,1GB/s --load 4GB/s,2GB/s",
        capsys,
    )
    assert found["costs"]["save"] == pytest.approx([1e-3, 8e-3])
    assert found["costs"]["load"] == pytest.approx([2e-3, 4e-3])


def test_the_default_memory_is_the_default_budget(monkeypatch, capsys):
    monkeypatch.setenv("PYREVOLVE_MEMORY", "5 MB")
    assert planned("500 --shape 90x80", capsys)["plan"]["memory"] == 5_000_000


def test_compression_is_weighed(capsys):
    found = planned(
        "2000 --shape 300x300 --memory 20MB --forward-step 1ms --compression 8,10GB/s,10GB/s", capsys
    )
    kinds = [found["plan"], *found["runners_up"]]
    assert {any(tier["compressed"] for tier in kind["tiers"]) for kind in kinds} == {True, False}


def test_the_curve_is_that_of_the_library_without_what_is_no_faster(tmp_path, capsys):
    path = tmp_path / "curve.csv"
    arguments = f"800 {BYTES} {GIVEN} --memory 80MB --points 9 --curve {path}"
    found = planned(arguments, capsys)["curve"]
    points = pyrevolve.plan_curve(
        800,
        state_bytes=6_800_000,
        window_slice_bytes=3_400_000,
        lookback=2,
        initial_state="free",
        costs=COSTS,
        points=9,
    )
    fastest = np.minimum.accumulate([point.predicted_seconds for point in points])
    expected = [p for k, p in enumerate(points) if k == 0 or p.predicted_seconds < fastest[k - 1]]
    assert [point["predicted_seconds"] for point in found] == [p.predicted_seconds for p in expected]
    with path.open(newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [int(row["memory_bytes"]) for row in rows] == [p.planned_bytes for p in expected]
    assert [float(row["predicted_time"]) for row in rows] == [p.predicted_seconds for p in expected]
    assert main(["plan", *arguments.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = lines[1 + max(number for number, line in enumerate(lines) if not line) :]
    assert [line.split()[-1] for line in table] == ["family", *(p.family for p in expected)]
    assert [line.split()[-4] for line in table[1:]] == [str(p.window) for p in expected]


def test_curve_and_schedule_are_drawn(tmp_path):
    pytest.importorskip("matplotlib", reason="needs Matplotlib: pip install 'pyrevolve[plot]'")
    curve, page = tmp_path / "curve.svg", tmp_path / "plan.html"
    arguments = f"300 {BYTES} {GIVEN} --memory 50MB --disk 1GB --points 5 --curve {curve} --show {page}"
    assert main(["plan", *arguments.split()]) == 0
    assert ElementTree.parse(curve).getroot().tag.endswith("svg")
    assert "AsyncTwoTier: 300 timesteps" in page.read_text(encoding="utf-8")


@pytest.mark.devito
@pytest.mark.parametrize(("order", "space"), [(2, 4), (1, 2)])
def test_sizes_from_the_grid_are_those_of_devito(order, space, capsys, monkeypatch):
    devito = pytest.importorskip("devito", reason="needs Devito: pip install 'pyrevolve[devito]'")
    from pyrevolve.devito import CheckpointedAdjoint

    monkeypatch.setitem(devito.configuration, "log-level", "ERROR")
    grid = devito.Grid(shape=(31, 27), dtype=np.float64)
    gradient = devito.Function(name="gradient", grid=grid)
    v = devito.TimeFunction(name="v", grid=grid, time_order=order, space_order=space)

    def build(save):
        u = devito.TimeFunction(name="u", grid=grid, time_order=order, space_order=space, save=save)
        rest = 0.1 * u.backward if order == 2 else 0
        back = 0.1 * v.forward if order == 2 else 0
        return (
            devito.Operator([devito.Eq(u.forward, 0.5 * u + 0.1 * u.laplace + rest)]),
            devito.Operator(
                [devito.Eq(v.backward, 0.5 * v + 0.1 * v.laplace + back), devito.Inc(gradient, u * v)]
            ),
        )

    found = planned(
        f"400 --shape 31x27 --dtype float64 --time-order {order} --space-order {space} --memory 300kB "
        "--forward-step 1ms --reverse-step 1ms --forward-call 0 --reverse-call 0 --save 1us --load 1us",
        capsys,
    )
    costs = pyrevolve.Costs(forward_step=1e-3, reverse_step=1e-3, save=1e-6, load=1e-6)
    options = {"arguments": {"time_m": 1, "time_M": 400}, "memory": "300 kB", "costs": costs}
    with CheckpointedAdjoint(build, **options) as adjoint:
        plan = adjoint.plan
    assert plan.n_snapshots > 1
    assert plan.window > plan.lookback
    for name in ("n_timesteps", "lookback", "lag", "initial_state"):
        assert found["problem"][name] == getattr(plan, name)
    for name in ("window", "n_snapshots", "planned_bytes", "forward_steps", "predicted_seconds"):
        assert found["plan"][name] == getattr(plan, name)
