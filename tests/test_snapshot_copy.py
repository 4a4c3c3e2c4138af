"""Copies to and from slots are byte for byte what numpy copies, whatever strides, sizes and threads."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrevolve import crevolve

ALIGNMENT = 64  # every array starts at a multiple of this within its slot
GUARD = 0xA5
DTYPES = ["?", "i1", "u2", "i4", "u8", "f2", "f4", "f8", "g", "c8", "c16", ">f4", ">i8", "S3", "f4,i2"]
#: Around a cache line, a page, and what is worth a second thread.
SIZES = [0, 1, 2, 63, 64, 65, 127, 128, 129, 4095, 4096, 4097, 65535, 65536, 65537, 262143, 262145]
LARGE_SIZES = [(1 << 20) - 1, 1 << 20, (1 << 20) + 1, (1 << 22) + 13]
BAD_DESTINATION = (ValueError, TypeError, BufferError)


def random_array(shape, dtype="u1", seed=0):
    """Return an array of random bytes, NaNs of any kind among them: bytes are what is compared."""
    dtype = np.dtype(dtype)
    count = int(np.prod(shape, dtype=np.int64))
    data = np.random.default_rng(seed).bytes(count * dtype.itemsize)
    return np.frombuffer(data, dtype).reshape(shape).copy() if count else np.empty(shape, dtype)


@functools.cache
def copier(threads):
    return crevolve.SnapshotCopier(threads)


def copy_to_slot(buffer, offset, arrays, threads):
    copier(threads).save(buffer, offset, arrays)


def copy_from_slot(buffer, offset, arrays, threads):
    copier(threads).load(buffer, offset, arrays)


def aligned(nbytes):
    return -(-nbytes // ALIGNMENT) * ALIGNMENT


def in_c_order(array):
    return array.tobytes(order="C")


def check_round_trip(arrays, offset=0, threads=1, destinations=None):
    """Save, look at the slot, wipe, load: all equals numpy's own copies and nothing else is touched."""
    total = sum(aligned(array.nbytes) for array in arrays)
    assert crevolve.packed_nbytes(arrays) == total
    margin = 256
    buffer = crevolve.Arena(offset + total + margin)
    slot = np.frombuffer(buffer, np.uint8)
    slot[:] = GUARD
    expected = [in_c_order(array) for array in arrays]
    copy_to_slot(buffer, offset, arrays, threads)
    assert (slot[:offset] == GUARD).all()
    assert (slot[offset + total :] == GUARD).all()
    at = offset
    for array, data in zip(arrays, expected, strict=True):
        assert slot[at : at + array.nbytes].tobytes() == data
        assert in_c_order(array) == data
        at += aligned(array.nbytes)
    before = slot.tobytes()
    if destinations is None:
        destinations = arrays
        for array in arrays:
            if array.size:
                array[...] = np.zeros((), array.dtype)
    copy_from_slot(buffer, offset, destinations, threads)
    assert [in_c_order(array) for array in destinations] == expected
    assert slot.tobytes() == before


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("nbytes", SIZES + LARGE_SIZES)
def test_sizes_around_thresholds(nbytes, threads):
    check_round_trip([random_array(nbytes, seed=nbytes)], threads=threads)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("offset", [0, 1, 3, 8, 31, 64, 65, 4095])
def test_any_offset_of_the_slot(offset, threads):
    arrays = [random_array(size, seed=size) for size in (1, 65, 70_001, 300_000)]
    check_round_trip(arrays, offset=offset, threads=threads)


@pytest.mark.parametrize("misalignment", [1, 2, 4, 7, 16, 33])
@pytest.mark.parametrize("nbytes", [5, 64, 4097, 600_001])
def test_arrays_at_odd_addresses(nbytes, misalignment):
    array = random_array(nbytes + misalignment)[misalignment:]
    check_round_trip([array], threads=2)
    check_round_trip([array, array.copy()], offset=17, threads=1)


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("dtype", DTYPES)
def test_any_dtype(dtype, threads):
    arrays = [random_array(shape, dtype, seed) for seed, shape in enumerate([(3,), (5, 7), (2, 3, 4), ()])]
    check_round_trip(arrays, threads=threads)
    check_round_trip([random_array((6, 10), dtype)[::2, ::-3]], threads=threads)


@pytest.mark.parametrize("threads", [1, 4])
def test_several_arrays_of_mixed_dtypes_and_shapes(threads):
    arrays = [random_array((2 + i, 5, 3), dtype, i) for i, dtype in enumerate(DTYPES)]
    check_round_trip(arrays, threads=threads)


STRIDED = {
    "every second row": lambda a: a[::2],
    "every second column": lambda a: a[:, ::2],
    "every third of the last axis": lambda a: a[..., ::3],
    "interior": lambda a: a[2:-2, 3:-1, 1:-4],
    "one time level": lambda a: a[1],
    "one plane across": lambda a: a[:, 4],
    "one point in depth": lambda a: a[..., 5],
    "transposed": lambda a: a.T,
    "two axes swapped": lambda a: a.swapaxes(0, 1),
    "cyclic": lambda a: a.transpose(1, 2, 0),
    "reversed": lambda a: a[::-1, ::-1, ::-1],
    "reversed last axis": lambda a: a[..., ::-1],
    "reversed first axis, contiguous rows": lambda a: a[::-1],
    "reversed and strided": lambda a: a[::-2, :, ::-3],
    "unit axes": lambda a: a[:, None, :, None, :, None],
    "one element": lambda a: a[3:4, 2:3, 1:2],
    "empty in the middle": lambda a: a[:, 3:3],
    "fortran order": np.asfortranarray,
    "scalar": lambda a: a[1, 2, 3, ...],
}


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("shape", [(7, 9, 11), (40, 60, 90)], ids=["small", "large"])
@pytest.mark.parametrize("name", STRIDED)
def test_strided_views(name, shape, threads):
    for dtype in ("f4", "c16", "u1"):
        whole = random_array(shape, dtype)
        around = whole.copy()
        view = STRIDED[name](whole)
        check_round_trip([view], offset=5, threads=threads)
        if np.shares_memory(view, whole):  # what is not in the view stays as it was
            assert in_c_order(whole) == in_c_order(around)


@pytest.mark.parametrize("name", STRIDED)
def test_a_slot_does_not_depend_on_the_strides_of_its_source(name):
    view = STRIDED[name](random_array((8, 9, 10), "f4"))
    check_round_trip([view], destinations=[np.empty(view.shape, "f4")])
    check_round_trip([view.copy()], destinations=[np.empty(view.shape[::-1], "f4").T])


@settings(max_examples=60)
@given(data=st.data())
def test_random_views_with_random_threads(data):
    shape = tuple(data.draw(st.lists(st.integers(0, 12), min_size=1, max_size=4)))
    arrays = []
    for seed in range(data.draw(st.integers(1, 4))):
        whole = random_array(shape, data.draw(st.sampled_from(DTYPES)), seed)
        steps = [data.draw(st.sampled_from([1, 1, 2, 3, -1, -2])) for _ in shape]
        order = data.draw(st.permutations(range(len(shape))))
        arrays.append(whole[tuple(slice(None, None, step) for step in steps)].transpose(order))
    check_round_trip(arrays, data.draw(st.integers(0, 130)), data.draw(st.integers(1, 5)))


@pytest.mark.parametrize("threads", [1, 2])
def test_no_arrays_and_empty_arrays(threads):
    check_round_trip([], threads=threads)
    check_round_trip([np.empty(0, "f4"), np.empty((3, 0, 2)), np.empty((0,), "c16")], threads=threads)
    check_round_trip([np.empty(0), random_array(100), np.empty((0, 4)), random_array(7)], threads=threads)


def test_any_sequence_of_arrays():
    buffer = crevolve.Arena(1024)
    arrays = [random_array(100, seed=1), random_array(50, "f4", seed=2)]
    contents = []
    for sequence in (arrays, tuple(arrays)):
        copy_to_slot(buffer, 0, sequence, 1)
        contents.append(np.frombuffer(buffer, np.uint8)[:328].tobytes())
    assert contents[0] == contents[1]


def test_sources_may_be_read_only_and_overlap_each_other():
    source = random_array(200_000)
    source.flags.writeable = False
    parts = [source, source[1:], source[::2], source[::-1]]
    check_round_trip(parts, threads=4, destinations=[np.empty(part.shape, "u1") for part in parts])


def test_a_read_only_destination_is_refused_and_stays_as_it_was():
    buffer = crevolve.Arena(4096)
    first, second = random_array(1000, seed=1), random_array(1000, seed=2)
    second.flags.writeable = False
    before = first.tobytes(), second.tobytes()
    with pytest.raises(BAD_DESTINATION):
        copy_from_slot(buffer, 0, [first, second], 1)
    assert (first.tobytes(), second.tobytes()) == before


def test_a_read_only_slot_is_loaded_from_but_never_saved_to():
    contents = bytes(range(256))
    array = np.zeros(256, np.uint8)
    copy_from_slot(contents, 0, [array], 1)
    assert array.tobytes() == contents
    with pytest.raises(BAD_DESTINATION):
        copy_to_slot(contents, 0, [np.zeros(256, np.uint8)], 1)
    assert contents == bytes(range(256))


def test_a_slot_may_be_any_buffer():
    array = random_array(1000)
    for buffer in (bytearray(1024), np.zeros(1024, np.uint8), memoryview(bytearray(1024)), np.zeros(128)):
        copy_to_slot(buffer, 0, [array], 2)
        assert memoryview(buffer).cast("B")[:1000].tobytes() == array.tobytes()


@pytest.mark.parametrize("copy", [copy_to_slot, copy_from_slot])
@pytest.mark.parametrize("offset", [-1, 1, 64, 4096, 2**63 - 1, 2**63, -(2**63)])
def test_copies_beyond_the_slots_are_refused(copy, offset):
    buffer = crevolve.Arena(4096)
    array = random_array(4096)
    before = array.tobytes()
    with pytest.raises((ValueError, OverflowError)):
        copy(buffer, offset, [array], 1)
    assert array.tobytes() == before
    assert not np.frombuffer(buffer, np.uint8).any()


def test_threads_out_of_range_are_refused():
    for threads in (0, -1):
        with pytest.raises(ValueError):
            crevolve.SnapshotCopier(threads)
    for threads in (1.0, "2"):
        with pytest.raises(TypeError):
            crevolve.SnapshotCopier(threads)
    with pytest.raises((ValueError, OverflowError)):
        crevolve.SnapshotCopier(2**70)


def test_threads_default_to_what_the_process_may_use():
    assert crevolve.SnapshotCopier().threads >= 1
    assert crevolve.SnapshotCopier(3).threads == 3


@pytest.mark.parametrize("copy", [copy_to_slot, copy_from_slot])
def test_arguments_of_the_wrong_kind_are_refused(copy):
    buffer = crevolve.Arena(4096)
    for arguments in (
        (buffer, 0.0, [random_array(8)], 1),
        (buffer, 0, [3.0], 1),
        (buffer, 0, [[1.0, 2.0]], 1),
        (3, 0, [random_array(8)], 1),
    ):
        with pytest.raises(TypeError):
            copy(*arguments)


@pytest.mark.parametrize("copy", [copy_to_slot, copy_from_slot])
def test_python_objects_are_never_copied(copy):
    with pytest.raises((TypeError, ValueError)):
        copy(crevolve.Arena(4096), 0, [np.array([object(), None])], 1)


# --- memory ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nbytes", [0, 1, 63, 64, 4096, 4097, 1 << 21, (1 << 21) + 1])
def test_allocated_memory_is_aligned_zeroed_and_writable(nbytes):
    buffer = crevolve.Arena(nbytes)
    view = memoryview(buffer)
    assert view.nbytes == nbytes
    assert not view.readonly
    array = np.frombuffer(buffer, np.uint8)
    assert nbytes == 0 or array.ctypes.data % ALIGNMENT == 0
    assert not array.any()
    array[:] = 7
    assert (array == 7).all()


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_prefaulted_memory_can_be_used(threads):
    buffer = crevolve.Arena((1 << 22) + 5)
    crevolve.SnapshotCopier(threads).prefault(buffer)
    array = np.frombuffer(buffer, np.uint8)
    assert not array.any()
    array[:] = 3
    assert (array == 3).all()


def test_memory_lives_as_long_as_an_array_uses_it():
    array = np.frombuffer(crevolve.Arena(1 << 16), np.uint8)
    gc.collect()
    array[:] = 9
    others = [crevolve.Arena(1 << 16) for _ in range(20)]
    assert (array == 9).all()
    assert len(others) == 20


def test_sizes_that_cannot_be_had_are_errors():
    with pytest.raises(ValueError):
        crevolve.Arena(-1)
    with pytest.raises(TypeError):
        crevolve.Arena(10.0)
    with pytest.raises(OverflowError):
        crevolve.Arena(2**64)
    with pytest.raises(MemoryError):
        crevolve.Arena(2**62)


# --- threads -----------------------------------------------------------------------------------------------


@pytest.fixture
def steps_of_another_thread():
    """Count in another Python thread, which runs only while this one lets go of the interpreter."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000.0)  # nobody is made to let go
    count, stop = [0], threading.Event()

    def work():
        while not stop.is_set():
            count[0] += 1
            time.sleep(0)

    thread = threading.Thread(target=work)
    thread.start()
    yield count
    stop.set()
    sys.setswitchinterval(interval)
    thread.join()


@pytest.mark.parametrize("strided", [False, True])
@pytest.mark.parametrize("copy", [copy_to_slot, copy_from_slot])
def test_other_python_threads_run_during_a_copy(copy, strided, steps_of_another_thread):
    array = np.zeros((2, 1 << 23), np.uint8)
    arrays = [array.T[::-1]] if strided else [array]
    buffer = crevolve.Arena(1 << 24)
    for _ in range(50):
        before = steps_of_another_thread[0]
        copy(buffer, 0, arrays, 2)
        if steps_of_another_thread[0] > before:
            return
    pytest.fail("no other Python thread made a step during 50 copies of 16 MiB")


def test_copiers_come_and_go():
    array = random_array(300_000)
    for _ in range(200):
        buffer = crevolve.Arena(300_032)
        crevolve.SnapshotCopier(4).save(buffer, 0, [array])
        assert np.frombuffer(buffer, np.uint8)[:300_000].tobytes() == array.tobytes()


def test_copies_from_several_python_threads_at_once():
    failures = []

    def work(seed):
        try:
            for threads in (1, 2, 3):
                arrays = [random_array(n, "u1", seed) for n in (100, 70_000, 400_001)]
                check_round_trip([*arrays, arrays[1][::3].copy()], offset=seed, threads=threads)
        except BaseException as failure:
            failures.append(failure)

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert failures == []


FORK = """
import ctypes, os, sys
libgomp = ctypes.CDLL("libgomp.so.1")
body = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda data: None)
libgomp.GOMP_parallel(body, None, 2, 0)
import numpy as np
from pyrevolve import MemoryStorage
child = os.fork()
if child == 0:
    field = np.arange(1 << 20, dtype=float)
    storage = MemoryStorage(1, [field], threads=2)
    storage.save(0, [field], 0)
    copy = np.zeros_like(field)
    storage.load(0, [copy], 0)
    os._exit(0 if np.array_equal(field, copy) else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_child_copies_although_its_parent_used_openmp():
    try:
        ctypes.CDLL("libgomp.so.1")
    except OSError:
        pytest.skip("needs GNU's OpenMP runtime: apt-get install libgomp1")
    subprocess.run([sys.executable, "-W", "ignore", "-c", FORK], check=True, timeout=120)
