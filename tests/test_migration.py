"""Scripts written for version 2.2.8: they run and give the same, or are told what to type instead.

`version_2` has the scripts. Where there is an environment with 2.2.8 they are run there as well.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import version_2
from version_2 import CASES, DISK_STORAGE_CASES, N, Problem, S, store_all, tier

import pyrevolve
from pyrevolve import ScheduleError, StorageError, compat

HERE = Path(__file__).resolve().parent
REFERENCE = Path(os.environ.get("PYREVOLVE_REFERENCE", HERE.parent / ".venv-reference" / "bin" / "python"))

#: By module: the names of 2.2.8 that a script may import, without those of other packages.
KEPT = {
    "pyrevolve": """
        Action BytesStorage CRevolve Checkpoint DiskRevolver DiskStorage HRevolve MemoryRevolver
        MultiLevelRevolver NumpyStorage Operator Profiler Revolver SingleLevelRevolver adjust compression
        crevolve expense maxrange numforw profiling storage
    """,
    "pyrevolve.storage": "BytesStorage DiskStorage NumpyStorage Storage",
    "pyrevolve.compression": "init_compression",
    "pyrevolve.crevolve": "Action CRevolve adjust expense maxrange numforw",
}
GONE = {
    "pyrevolve": """
        Architecture BaseRevolver OutputGrabber RevolveError cr init logger pyrevolve schedulers tools
    """,
    "pyrevolve.storage": "CompressedObject",
    "pyrevolve.compression": """
        CompressedObject DEFAULTS blosc_compress blosc_decompress compressors compressors_available
        compressors_known decompressors no_compression_in no_compression_out zfp_compress zfp_decompress
    """,
    "pyrevolve.schedulers": """
        Action Architecture CAction CRevolve HAction HRevolve Revolve Scheduler base crevolve hrevolve
    """,
}
#: An extension module, which has no ``__getattr__``.
GONE_WITHOUT_A_WORD = {"pyrevolve.crevolve": "OutputGrabber RevolveError"}

#: Where this package runs fewer forward timesteps; elsewhere just as many.
FEWER_STEPS = {"Revolver, default", "MultiLevelRevolver, RAM", "MultiLevelRevolver, RAM and disk"}

pytestmark = pytest.mark.filterwarnings("ignore:.* is kept for code that was written:DeprecationWarning")


def pairs(names):
    return [(module, name) for module, listed in names.items() for name in listed.split()]


def python(executable, *arguments, cwd):
    """Run an interpreter outside the checkout; return the JSON that it prints."""
    environment = dict(os.environ)
    if str(executable) != sys.executable:
        # 2.2.8 deletes its schedule as another type than it made, for which a sanitizer would stop it.
        environment.pop("LD_PRELOAD", None)
    done = subprocess.run(
        [str(executable), *map(str, arguments)],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def reference():
    if not REFERENCE.is_file():
        pytest.skip(
            f"no {REFERENCE} with pyrevolve 2.2.8: set PYREVOLVE_REFERENCE to an interpreter that has it"
        )
    return REFERENCE


def gradients_of(make, n_fields=3, dtype="float64", package=compat):
    """Return the gradients of one shot, through a Revolver that is closed."""
    problem = Problem(package, n_fields, dtype)
    with make(package, problem) as revolver:
        revolver.apply_forward()
        revolver.apply_reverse()
    return problem.gradients


def assert_exact(gradients, n_fields=3, dtype="float64"):
    for gradient, expected in zip(gradients, store_all(n_fields, dtype), strict=True):
        np.testing.assert_array_equal(gradient, expected)


# --- old scripts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("package", ["pyrevolve", "pyrevolve.compat"])
def test_old_scripts_give_what_they_gave(package, reference, tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    script = HERE / "version_2.py"
    ours = python(sys.executable, "-W", "ignore::DeprecationWarning", script, package, cwd=here)
    theirs = python(reference, "-I", script, "pyrevolve", cwd=there)
    # The old signature of DiskStorage is found in pyrevolve.compat only.
    assert set(theirs) - set(ours) == (set(DISK_STORAGE_CASES) if package == "pyrevolve" else set())
    for case, records in ours.items():
        for fields, record in records.items():
            expected = theirs[case][fields]
            assert record["gradients"] == expected["gradients"], (case, fields)
            assert record["reversed"] == expected["reversed"], (case, fields)
            assert record["forward_steps"] <= expected["forward_steps"], (case, fields)
            if case not in FEWER_STEPS:
                assert record["forward_steps"] == expected["forward_steps"], (case, fields)


@pytest.mark.parametrize("n_fields", [1, 3])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", [*CASES, *DISK_STORAGE_CASES])
def test_old_scripts_give_the_gradients_of_store_all(case, n_fields, dtype, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make = {**CASES, **DISK_STORAGE_CASES}[case]
    assert_exact(gradients_of(make, n_fields, dtype), n_fields, dtype)
    if case in CASES:
        assert_exact(gradients_of(make, n_fields, dtype, pyrevolve), n_fields, dtype)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("s", [None, 1, 7])
def test_short_runs(n, s, tmp_path):
    for make in (
        lambda v, p: v.MemoryRevolver(*p.arguments, s, n),
        lambda v, p: v.MemoryRevolver(*p.arguments, s, n, compression_params={"scheme": None}),
        lambda v, p: v.DiskRevolver(*p.arguments, s, n, filedir=tmp_path),
        lambda v, p: v.MultiLevelRevolver(*p.arguments, n, [tier(v.NumpyStorage, p, s or 3)]),
    ):
        for gradient, expected in zip(gradients_of(make), store_all(3, "float64", n), strict=True):
            np.testing.assert_array_equal(gradient, expected)


def test_files_lie_where_they_were_asked_for_and_go(tmp_path):
    p = Problem(compat, 1, "float64")
    for make in (
        lambda folder: compat.DiskRevolver(*p.arguments, S, N, filedir=folder),
        lambda folder: compat.SingleLevelRevolver(*p.arguments, S, N, diskstorage=True, filedir=folder),
        lambda folder: compat.MultiLevelRevolver(
            *p.arguments, N, [tier(compat.DiskStorage, p, S, None, folder)]
        ),
    ):
        with make(tmp_path / "new") as revolver:
            assert Path(revolver.storage.path).is_relative_to(tmp_path / "new")
            assert Path(revolver.storage.path).is_file()
        assert list((tmp_path / "new").iterdir()) == []
    kept = compat.DiskStorage(4, 2, np.float64, filedir=tmp_path / "kept", keepfiles=True)
    kept.save(0, [np.arange(4.0)])
    kept.close()
    (file,) = (path for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert np.arange(4.0).tobytes() in file.read_bytes()


def test_costs_and_slots_of_storages_decide(tmp_path):
    """The more a disk costs, the less it is used; a slot that is not there is never used."""
    saves = []
    for cost in (0, 2, 1000):
        p = Problem(compat, 1, "float64")
        levels = [
            tier(compat.NumpyStorage, p, 2),
            tier(compat.DiskStorage, p, 4, filedir=tmp_path, wd=cost, rd=cost),
        ]
        with compat.MultiLevelRevolver(*p.arguments, N, levels) as revolver:
            assert revolver.schedule.costs.save == (0.0, cost)
            tiers = revolver.schedule.counts.tiers
            assert all(used.peak <= slots for used, slots in zip(tiers, (2, 4), strict=False))
            saves.append(sum(used.saves for used in tiers[1:]))
    assert saves[0] > saves[1] > saves[2] == 0


# --- faults of 2.2.8 that are not reproduced ----------------------------------------------------------------


def test_no_snapshots_is_an_error(tmp_path):
    """There it ended the process, by a segmentation fault."""
    for make in (
        lambda p: pyrevolve.Revolver(*p.arguments, 0, N),
        lambda p: compat.MemoryRevolver(*p.arguments, 0, N),
        lambda p: compat.DiskRevolver(*p.arguments, 0, N, filedir=tmp_path),
        lambda p: compat.MemoryRevolver(*p.arguments, -1, N),
    ):
        with pytest.raises(ValueError, match=r"n_checkpoints must be >= 1, got (0|-1)"):
            make(Problem(compat, 1, "float64"))
    p = Problem(compat, 1, "float64")
    with pytest.raises(ValueError, match="capacities are 0"):
        compat.MultiLevelRevolver(*p.arguments, N, [tier(compat.NumpyStorage, p, 0)])


@pytest.mark.parametrize(
    "make",
    [
        lambda v, p, params: v.MemoryRevolver(*p.arguments, S, N, compression_params=params),
        lambda v, p, params: v.SingleLevelRevolver(*p.arguments, S, N, compression_params=params),
        lambda v, p, params: v.SingleLevelRevolver(
            *p.arguments, S, N, compression_params=params, diskstorage=True, filedir="./c"
        ),
        lambda v, p, params: v.MultiLevelRevolver(
            *p.arguments, N, [tier(v.BytesStorage, p, S, v.init_compression(params))]
        ),
    ],
    ids=["memory", "single", "disk", "levels"],
)
def test_three_fields_with_compression(make, tmp_path, monkeypatch):
    pytest.importorskip("numcodecs", reason='needs pip install "pyrevolve[compression]"')
    monkeypatch.chdir(tmp_path)
    assert_exact(gradients_of(lambda v, p: make(v, p, {"scheme": "blosc", "chunk_size": 1_000_000})))
    pytest.importorskip("zfpy", reason='needs pip install "pyrevolve[zfp]"')
    truth = store_all(3, "float64")
    for tolerance in (1e-6, 1e-10):
        params = {"scheme": "zfp", "tolerance": tolerance, "parallel": True}
        for gradient, expected in zip(gradients_of(lambda v, p: make(v, p, params)), truth, strict=True):  # noqa: B023
            np.testing.assert_allclose(gradient, expected, rtol=100 * tolerance)


@pytest.mark.parametrize("disk", [False, True])
def test_compression_is_used_and_bounded(disk, tmp_path):
    pytest.importorskip("zfpy", reason='needs pip install "pyrevolve[zfp]"')
    p = Problem(compat, 3, "float64")
    params = {"scheme": "zfp", "tolerance": 1e-3}
    options = {"diskstorage": disk, "filedir": tmp_path}
    with compat.SingleLevelRevolver(*p.arguments, S, N, compression_params=params, **options) as revolver:
        revolver.apply_forward()
        assert 0 < revolver.storage.compression_error.absolute <= 1e-3


def test_parameters_of_compression():
    pytest.importorskip("zfpy", reason='needs pip install "pyrevolve[zfp]"')
    assert compat.init_compression({"scheme": "zfp", "tolerance": 1e-3}).tolerance == 1e-3
    assert compat.init_compression({"scheme": "zfp"}).tolerance == 1e-7
    assert compat.init_compression({"scheme": "zfp", "precision": 12}).codec.precision == 12
    assert compat.init_compression({}) is None


def test_second_reverse_sweep_is_refused_and_second_shot_is_right(tmp_path):
    """There a second reverse sweep did nothing without a word, and a second forward sweep failed."""
    for make in (
        lambda p: pyrevolve.Revolver(*p.arguments, S, N),
        lambda p: compat.MemoryRevolver(*p.arguments, S, N),
        lambda p: compat.DiskRevolver(*p.arguments, S, N, filedir=tmp_path),
        lambda p: compat.MultiLevelRevolver(*p.arguments, N, [tier(compat.NumpyStorage, p, S)]),
    ):
        p = Problem(compat, 3, "float64")
        with make(p) as revolver:
            revolver.apply_forward()
            revolver.apply_reverse()
            for call in (revolver.apply_reverse, revolver.apply_forward):
                with pytest.raises(ScheduleError, match=r"call reset\(\)"):
                    call()
            assert_exact(p.gradients)
            revolver.reset()
            p.again()
            revolver.apply_forward()
            revolver.apply_reverse()
            assert_exact(p.gradients)


@pytest.mark.parametrize("kind", ["ours", "old"])
def test_two_disk_storages_at_once_are_two(kind, tmp_path):
    """There both had the same file, which was named after the second in which they were made."""
    arrays = [np.arange(4.0)]
    if kind == "ours":
        first, second = (pyrevolve.DiskStorage(2, arrays, directory=tmp_path) for _ in range(2))
        first.save(0, arrays, 0)
        second.save(0, [arrays[0] + 10], 0)
    else:
        first, second = (compat.DiskStorage(4, 2, np.float64, filedir=tmp_path) for _ in range(2))
        first.save(0, arrays)
        second.save(0, [arrays[0] + 10])
    back = np.empty(4)
    for storage, expected in ((first, arrays[0]), (second, arrays[0] + 10)):
        storage.load(0, [back], *([0] if kind == "ours" else []))
        np.testing.assert_array_equal(back, expected)
        storage.close()
    assert list(tmp_path.rglob("*.*")) == []


STORAGES = {
    "NumpyStorage": lambda n, tmp_path: compat.NumpyStorage(4, n, np.float64),
    "DiskStorage": lambda n, tmp_path: compat.DiskStorage(4, n, np.float64, filedir=tmp_path / "new"),
    "BytesStorage": lambda n, tmp_path: compat.BytesStorage(4, n, np.float64, None),
}


@pytest.mark.parametrize("kind", STORAGES)
def test_push_to_a_full_storage_is_an_error_and_loses_nothing(kind, tmp_path):
    """There what did not fit was dropped without a word."""
    storage = STORAGES[kind](2, tmp_path)
    back = np.empty(4)
    storage.push([np.full(4, 1.0)])
    storage.push([np.full(4, 2.0)])
    for _ in range(2):
        with pytest.raises(StorageError, match="2, counted from 0"):
            storage.push([np.full(4, 3.0)])
    storage.peek([back])
    assert (back == 2).all()
    for expected in (2, 1):
        storage.pop([back])
        assert (back == expected).all()
    for key in (0, 1):
        with pytest.raises(StorageError, match="is empty"):
            storage.load(key, [back])
    for call in (storage.pop, storage.peek):
        with pytest.raises(StorageError, match="nothing to peek or pop"):
            call([back])
    storage.push([np.full(4, 5.0)])
    storage.pop([back])
    assert (back == 5).all()
    storage.close()


@pytest.mark.parametrize("kind", STORAGES)
def test_storage_by_key(kind, tmp_path):
    storage = STORAGES[kind](3, tmp_path)
    back = np.full((2, 2), -1.0)
    with pytest.raises(StorageError, match="nothing was saved"):
        storage.load(0, [back])
    for value, key in ((1.0, 2), (2.0, 0), (3.0, 2)):
        storage.save(key, [np.full((2, 2), value)])
    for key, expected in ((0, 2), (2, 3)):
        storage.load(key, [back])
        assert (back == expected).all()
    with pytest.raises(StorageError, match="is empty"):
        storage.load(1, [back])
    with pytest.raises(StorageError, match="no such slot"):
        storage.save(3, [back])
    assert (back == 3).all()
    storage.close()


def test_storage_converts_nothing_and_holds_no_more_than_it_was_made_for():
    """There float64 became float32 without a word."""
    with pytest.raises(StorageError, match=r"have 32 bytes, but size_ckp=4 elements of float32 are 16"):
        compat.NumpyStorage(4, 2, np.float32).save(0, [np.zeros(4)])
    p = Problem(compat, 1, "float64")
    with pytest.raises(StorageError, match="have 32 bytes, but size_ckp=3"):
        compat.MultiLevelRevolver(*p.arguments, N, [compat.NumpyStorage(3, S, np.float64)])


def test_list_of_storages_may_be_used_twice(tmp_path):
    """There the second Revolver with the same storages gave a wrong gradient."""
    p, q = (Problem(compat, 3, "float64") for _ in range(2))
    levels = [tier(compat.NumpyStorage, p, 2), tier(compat.DiskStorage, p, 4, filedir=tmp_path)]
    revolvers = [compat.MultiLevelRevolver(*problem.arguments, N, levels) for problem in (p, q)]
    for sweep in ("apply_forward", "apply_reverse"):
        for revolver in revolvers:
            getattr(revolver, sweep)()
    for problem, revolver in zip((p, q), revolvers, strict=True):
        assert_exact(problem.gradients)
        revolver.close()
    assert list(tmp_path.iterdir()) == []


# --- what is refused ----------------------------------------------------------------------------------------


def test_arguments_without_a_meaning_are_refused(tmp_path):
    p = Problem(compat, 1, "float64")
    levels = [tier(compat.NumpyStorage, p, S)]
    for name, value in (("timings", {}), ("profiler", pyrevolve.Profiler())):
        for make in (
            lambda **given: compat.MemoryRevolver(*p.arguments, S, N, **given),
            lambda **given: compat.SingleLevelRevolver(*p.arguments, S, N, **given),
            lambda **given: compat.DiskRevolver(*p.arguments, S, N, filedir=tmp_path, **given),
            lambda **given: compat.MultiLevelRevolver(*p.arguments, N, levels, **given),
        ):
            with pytest.raises(TypeError, match=rf"{name}= is not taken .* revolver\.profiler"):
                make(**{name: value})
    with pytest.raises(TypeError, match=r"revolver\.profiler"):
        compat.NumpyStorage(4, 2, np.float64, pyrevolve.Profiler())
    with pytest.raises(ValueError, match="at least one storage"):
        compat.MultiLevelRevolver(*p.arguments, N, [])
    with pytest.raises(TypeError, match=r"pyrevolve\.compat, got MemoryStorage"):
        compat.MultiLevelRevolver(*p.arguments, N, [pyrevolve.MemoryStorage(3)])
    with pytest.raises(TypeError, match="checkpoint must be"):
        compat.MultiLevelRevolver(None, *p.arguments[1:], N, levels)
    with pytest.raises(TypeError, match="encode and decode"):
        compat.BytesStorage(4, 2, np.float64, (bytes, bytes))
    with pytest.raises(ValueError, match="n_ckp must be >= 0, got -1"):
        compat.NumpyStorage(4, -1, np.float64)
    with pytest.raises(TypeError, match=r"size_ckp must be an integer, got 2\.5"):
        compat.NumpyStorage(2.5, 1, np.float64)


@pytest.mark.parametrize(
    ("params", "error", "message"),
    [
        ("zfp", TypeError, "must be a dict"),
        ({"scheme": "lzo"}, ValueError, 'None, "blosc" or "zfp", got \'lzo\''),
        ({"scheme": "zfp", "rate": 8}, ValueError, "takes parallel, precision, tolerance, got 'rate'"),
        ({"scheme": None, "tolerance": 1}, ValueError, "takes no parameters, got 'tolerance'"),
    ],
)
def test_compression_that_means_nothing_is_refused(params, error, message):
    with pytest.raises(error, match=message):
        compat.init_compression(params)
    with pytest.raises(error, match=message):
        compat.MemoryRevolver(*Problem(compat, 1, "float64").arguments, S, N, compression_params=params)


def test_old_signature_of_disk_storage_is_never_mistaken_for_the_new_one(tmp_path):
    for old in ((4, 2, np.float64), (4, 2)):
        with pytest.raises(TypeError, match=r"DiskStorage|must be a list of arrays, got int"):
            pyrevolve.DiskStorage(*old)
    with pytest.raises(TypeError, match="filedir"):
        pyrevolve.DiskStorage(4, 2, filedir=tmp_path)


def test_attributes_that_are_gone_name_what_replaces_them():
    p = Problem(compat, 1, "float64")
    with compat.MemoryRevolver(*p.arguments, S, N) as revolver:
        for name in ("ratio", "makespan", "scheduler", "storage_list", "storage_ckps", "save_checkpoint"):
            with pytest.raises(AttributeError, match=rf"{name}.*in pyrevolve 2\.2\.8; use .*revolver\."):
                getattr(revolver, name)
        with pytest.raises(AttributeError, match=r"no attribute 'rewind'$"):
            revolver.rewind  # noqa: B018
        assert revolver.schedule.recompute_factor == 92 / N
    with pytest.raises(AttributeError, match="use n_ckp"):
        compat.NumpyStorage(4, 2, np.float64).nckp  # noqa: B018


# --- names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("module", "name"), pairs(KEPT))
def test_name_is_kept(module, name):
    assert getattr(importlib.import_module(module), name) is not None
    exec(f"from {module} import {name}", {})


@pytest.mark.parametrize(("module", "name"), pairs(GONE))
def test_name_that_is_gone_says_what_to_use(module, name):
    if (module, name) != ("pyrevolve", "schedulers"):  # an attribute once the module below was imported
        with pytest.raises(ImportError, match=rf"{module}\.{name} of pyrevolve 2\.2\.8 is gone; use \S+"):
            exec(f"from {module} import {name}", {})


@pytest.mark.parametrize("module", ["pyrevolve", *GONE])
def test_name_that_never_was_is_an_ordinary_error(module):
    imported = importlib.import_module(module)
    assert not hasattr(imported, "no_such_name")
    with pytest.raises(ImportError, match=f"cannot import name 'no_such_name' from '{module}'"):
        exec(f"from {module} import no_such_name", {})


def test_every_public_name_is_accounted_for(reference, tmp_path):
    code = """
import importlib, json, types
import pyrevolve
public = {}
for module in ("pyrevolve", "pyrevolve.storage", "pyrevolve.compression", "pyrevolve.schedulers",
               "pyrevolve.crevolve"):
    imported = importlib.import_module(module)
    public[module] = []
    for name in dir(imported):
        value = getattr(imported, name)
        of = "__name__" if isinstance(value, types.ModuleType) else "__module__"
        home = getattr(value, of, "pyrevolve")
        if not name.startswith("_") and str(home).split(".")[0] == "pyrevolve":
            public[module].append(name)
print(json.dumps(public))
"""
    for module, names in python(reference, "-I", "-c", code, cwd=tmp_path).items():
        known = " ".join(lists.get(module, "") for lists in (KEPT, GONE, GONE_WITHOUT_A_WORD))
        assert sorted(names) == sorted(known.split()), module


def test_signatures_are_the_old_ones(reference, tmp_path):
    names = [
        *STORAGES,
        "Revolver",
        "MemoryRevolver",
        "DiskRevolver",
        "SingleLevelRevolver",
        "MultiLevelRevolver",
    ]
    code = f"""
import importlib, inspect, json, sys
package = importlib.import_module(sys.argv[1])
print(json.dumps({{
    name: [(p.name, p.kind, None if p.default is p.empty else [p.default])
           for p in inspect.signature(getattr(package, name)).parameters.values()]
    for name in {names!r}
}}))
"""
    theirs = python(reference, "-I", "-c", code, "pyrevolve", cwd=tmp_path)
    assert python(sys.executable, "-c", code, "pyrevolve.compat", cwd=tmp_path) == theirs


# --- warnings, imports, installation ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "instead", "make"),
    [
        ("MemoryRevolver", r"pyrevolve\.Revolver", lambda p: compat.MemoryRevolver(*p.arguments, S, N)),
        ("MemoryRevolver", r"pyrevolve\.Revolver", lambda p: compat.Revolver(*p.arguments, S, N)),
        (
            "SingleLevelRevolver",
            r"pyrevolve\.Revolver",
            lambda p: compat.SingleLevelRevolver(*p.arguments, S, N),
        ),
        ("DiskRevolver", "disk_dir=", lambda p: compat.DiskRevolver(*p.arguments, S, N)),
        (
            "MultiLevelRevolver",
            r"schedule=pyrevolve\.HRevolve",
            lambda p: compat.MultiLevelRevolver(*p.arguments, N, [tier(compat.NumpyStorage, p, S)]),
        ),
        ("NumpyStorage", r"MemoryStorage\(n_slots, arrays\)", lambda p: tier(compat.NumpyStorage, p, S)),
        ("DiskStorage", "directory=", lambda p: tier(compat.DiskStorage, p, S)),
        ("BytesStorage", "compression=", lambda p: tier(compat.BytesStorage, p, S, None)),
        ("init_compression", "lossless", lambda p: compat.init_compression({})),
    ],
)
def test_warning_says_what_to_type_and_points_to_the_script(name, instead, make, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.warns(DeprecationWarning, match=rf"^{name}\b.* 2\.2\.8; use .*{instead}") as caught:
        make(Problem(compat, 1, "float64"))
    assert {Path(warning.filename) for warning in caught} <= {Path(__file__), Path(version_2.__file__)}
    assert sum(name in str(warning.message).split(" is kept")[0] for warning in caught) == 1


def test_warning_comes_once_for_a_loop(tmp_path):
    script = tmp_path / "script.py"
    script.write_text("import pyrevolve\nfor _ in range(3):\n    pyrevolve.NumpyStorage(4, 2, float)\n")
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stderr.count("DeprecationWarning") == 1
    assert "script.py:3" in done.stderr


def test_import_needs_numpy_only(tmp_path):
    code = """
import json, sys
before = {name.partition(".")[0] for name in sys.modules}
import pyrevolve
assert "pyrevolve.compat" not in sys.modules
import pyrevolve.compat
after = {name.partition(".")[0] for name in sys.modules}
print(json.dumps([name for name in sorted(after - before - sys.stdlib_module_names)
                  if not name.startswith(("_", "cython"))]))
"""
    assert python(sys.executable, "-W", "error", "-c", code, cwd=tmp_path) == ["numpy", "pyrevolve"]


def test_devito_asks_for_the_old_version_in_its_extras_only():
    """What the guide says about installing; where this fails, the guide is to be changed."""
    try:
        required = metadata.requires("devito")
    except metadata.PackageNotFoundError:
        pytest.skip("tested with Devito: pip install devito")
    asking = [line.replace(" ", "") for line in required if line.startswith("pyrevolve")]
    assert [line.replace("'", '"') for line in asking] == ['pyrevolve==2.2.8;extra=="extras"']
