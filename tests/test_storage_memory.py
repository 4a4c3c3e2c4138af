"""Slots in RAM: what is saved comes back, byte for byte, and nothing else ever does."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pyrevolve import MemoryStorage, Storage, StorageError
from pyrevolve.errors import ArrayShapeError, ArrayTypeError
from pyrevolve.storage.slots import slot_nbytes

DTYPES = [
    "?",
    "i1",
    "u2",
    "i4",
    "i8",
    "f2",
    "f4",
    "f8",
    "g",
    "c8",
    "c16",
    ">f4",
    "S3",
    "U2",
    "M8[s]",
    "V5",
    [("a", "i2"), ("b", "f8")],
]


def filled(shape, dtype, seed=0):
    """Return an array of arbitrary bytes, NaN payloads and all."""
    array = np.empty(shape, dtype)
    if array.dtype == bool:
        array[...] = np.random.default_rng(seed).integers(0, 2, shape)
    else:
        array[...] = np.frombuffer(np.random.default_rng(seed).bytes(array.nbytes), dtype).reshape(shape)
    return array


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_any_dtype_comes_back(dtype):
    saved = filled((3, 5), dtype)
    with MemoryStorage(1, [saved]) as storage:
        storage.save(0, [saved], 4)
        loaded = filled((3, 5), dtype, seed=1)
        storage.load(0, [loaded], 4)
        assert loaded.tobytes() == saved.tobytes()


def test_mixed_arrays_and_several_slots():
    states = [
        [
            filled((7, 3), "f4", t),
            filled((), "i8", t),
            filled((0, 4), "f8", t),
            filled(11, "c8", t),
            filled(1, "i1", t),
        ]
        for t in range(5)
    ]
    with MemoryStorage(5, states[0]) as storage:
        for t in (3, 0, 4, 1, 2):
            storage.save(t, states[t], 10 + t)
        assert storage.timesteps == (10, 11, 12, 13, 14)
        target = [np.zeros_like(array) for array in states[0]]
        for t in (2, 2, 0, 4, 3, 1):
            storage.load(t, target, 10 + t)
            assert [array.tobytes() for array in target] == [array.tobytes() for array in states[t]]


@given(data=st.data(), shape=hnp.array_shapes(max_dims=4, max_side=9))
def test_strided_arrays(data, shape):
    """Reversed, permuted and stepped views are saved in the order of their indices, and loaded so."""

    def draw_view():
        """Return a function from an array of twice the shape to a view of the shape."""
        starts = [data.draw(st.integers(0, 1)) for _ in shape]
        flipped = [axis for axis in range(len(shape)) if data.draw(st.booleans())]
        return lambda base: np.flip(base[tuple(slice(start, None, 2) for start in starts)], flipped)

    permutation = data.draw(st.permutations(range(len(shape))))
    bases = [filled([2 * shape[axis] for axis in permutation], "i4", seed) for seed in (0, 1)]
    # Permuting the base and undoing it on the view gives the strides of any memory order.
    source_base, target_base = (base.transpose(np.argsort(permutation)) for base in bases)
    source, target = draw_view()(source_base), (target_view := draw_view())(target_base)
    before = target_base.copy()
    with MemoryStorage(1, [source]) as storage:
        storage.save(0, [source], 0)
        storage.load(0, [target], 0)
    np.testing.assert_array_equal(target, source)
    inside = np.zeros(target_base.shape, bool)
    target_view(inside)[...] = True
    np.testing.assert_array_equal(target_base[~inside], before[~inside])


def test_loading_a_strided_array_leaves_its_surroundings_alone():
    base = np.zeros((6, 8))
    window = base[1:-1, 2:-2]
    source = np.random.default_rng(0).normal(size=window.shape)
    with MemoryStorage(1, [source]) as storage:
        storage.save(0, [source], 0)
        storage.load(0, [window], 0)
    np.testing.assert_array_equal(base, np.pad(source, [(1, 1), (2, 2)]))


def test_large_arrays_and_several_threads():
    source = filled((3, 1_000_003), "f4")
    for threads in (1, 2, 5):
        with MemoryStorage(2, list(source), threads=threads) as storage:
            assert storage.threads == threads
            storage.save(1, list(source), 0)
            target = np.zeros_like(source)
            storage.load(1, list(target), 0)
            assert target.tobytes() == source.tobytes()


def test_memory_is_aligned_and_counted():
    arrays = [np.zeros(3, "f4"), np.zeros(70, "i1"), np.zeros(0), np.zeros(16, "f4")]
    assert slot_nbytes(arrays) == 64 + 128 + 0 + 64
    with MemoryStorage(3, arrays) as storage:
        assert storage.nbytes == 3 * 256
        assert storage.state_nbytes == 12 + 70 + 64
        assert storage.n_slots == 3
        assert "3 slots" in repr(storage)
        assert isinstance(storage, Storage)


def test_memory_is_taken_once():
    array = np.arange(1000.0)
    with MemoryStorage(2, [array]) as storage:
        buffer = storage._buffer
        for shot in range(3):
            storage.save(0, [array + shot], 0)
            storage.clear()
            assert storage.timesteps == (None, None)
        assert storage._buffer is buffer


def test_first_save_decides_what_a_state_is():
    with MemoryStorage(2) as storage:
        assert (storage.nbytes, storage.state_nbytes) == (0, 0)
        storage.save(1, [np.arange(4.0)], 3)
        assert storage.nbytes == 128
        with pytest.raises(ArrayShapeError):
            storage.save(0, [np.arange(5.0)], 4)


def test_no_slots_and_no_arrays():
    with MemoryStorage(0, [np.zeros(3)]) as storage:
        assert storage.nbytes == 0
        with pytest.raises(StorageError, match="no such slot"):
            storage.save(0, [np.zeros(3)], 0)
    with MemoryStorage(2, []) as storage:
        storage.save(0, (), 5)
        storage.load(0, [], 5)
        with pytest.raises(StorageError):
            storage.save(0, [], 5)
        with pytest.raises(ArrayShapeError):
            storage.save(1, [np.zeros(1)], 5)
        storage.free(0)
        assert storage.timesteps == (None, None)


def test_any_sequence_will_do():
    source = np.arange(6.0).reshape(2, 3)
    with MemoryStorage(1, iter([source])) as storage:
        storage.save(0, iter([source]), 0)
        target = np.zeros_like(source)
        storage.load(0, (array for array in [target]), 0)
        np.testing.assert_array_equal(target, source)


# --- faults ---------------------------------------------------------------------------------------------


def assert_names(caught, slot, timestep):
    """Assert that an error names tier, slot and timestep."""
    assert (caught.value.tier, caught.value.slot, caught.value.timestep) == ("RAM", slot, timestep)
    assert "tier RAM" in str(caught.value)
    assert slot is None or f"slot {slot}" in str(caught.value)
    assert timestep is None or f"timestep {timestep}" in str(caught.value)


def test_slot_that_is_full_empty_or_missing():
    array = np.arange(3.0)
    with MemoryStorage(2, [array]) as storage:
        with pytest.raises(StorageError, match="empty") as caught:
            storage.load(1, [array], 7)
        assert_names(caught, 1, 7)
        with pytest.raises(StorageError, match="empty") as caught:
            storage.free(1)
        assert_names(caught, 1, None)
        storage.save(1, [array], 7)
        with pytest.raises(StorageError, match="still holds timestep 7") as caught:
            storage.save(1, [array + 1], 9)
        assert_names(caught, 1, 9)
        with pytest.raises(StorageError, match="holds timestep 7") as caught:
            storage.load(1, [array], 9)
        assert_names(caught, 1, 9)
        for slot in (-1, 2, 10**20):
            for call in (lambda s: storage.save(s, [array], 5), lambda s: storage.load(s, [array], 5)):
                with pytest.raises(StorageError, match="no such slot") as caught:
                    call(slot)
                assert_names(caught, slot, 5)
            with pytest.raises(StorageError, match="no such slot"):
                storage.free(slot)
        with pytest.raises(StorageError, match="must be >= 0"):
            storage.save(0, [array], -1)
        target = np.zeros(3)
        storage.load(1, [target], 7)
        np.testing.assert_array_equal(target, np.arange(3.0))
        storage.free(1)
        with pytest.raises(StorageError, match="empty"):
            storage.load(1, [array], 7)


@pytest.mark.parametrize(
    ("arrays", "error", "builtin"),
    [
        ([np.zeros((2, 3), "f4")], ArrayShapeError, ValueError),
        ([np.zeros((2, 3), "f4")] * 3, ArrayShapeError, ValueError),
        ([], ArrayShapeError, ValueError),
        ([np.zeros((2, 3), "f4"), np.zeros(5)], ArrayShapeError, ValueError),
        ([np.zeros((3, 2), "f4"), np.zeros(4)], ArrayShapeError, ValueError),
        ([np.zeros(6, "f4"), np.zeros(4)], ArrayShapeError, ValueError),
        ([np.zeros((2, 3), "f8"), np.zeros(4)], ArrayTypeError, TypeError),
        ([np.zeros((2, 3), "i4"), np.zeros(4)], ArrayTypeError, TypeError),
        ([np.zeros((2, 3), ">f4"), np.zeros(4)], ArrayTypeError, TypeError),
        ([np.zeros((2, 3), "f4"), [0.0] * 4], ArrayTypeError, TypeError),
        ([np.zeros((2, 3), "f4"), None], ArrayTypeError, TypeError),
    ],
)
def test_arrays_that_are_not_those_of_the_state(arrays, error, builtin):
    state = [np.ones((2, 3), "f4"), np.ones(4)]
    with MemoryStorage(2, state) as storage:
        storage.save(0, state, 3)
        for call, slot in ((storage.save, 1), (storage.load, 0)):
            with pytest.raises(error) as caught:
                call(slot, arrays, 3)
            assert isinstance(caught.value, StorageError)
            assert isinstance(caught.value, builtin)
            assert_names(caught, slot, 3)
        assert storage.timesteps == (3, None)
        assert not any(np.any(array) for array in arrays if isinstance(array, np.ndarray))


@pytest.mark.parametrize(
    "array",
    [
        np.array([object()]),
        np.zeros(2, [("a", object)]),
        np.ma.zeros(3),
        [1.0, 2.0],
        3.0,
        np.float64(3.0),
        None,
    ],
    ids=lambda array: type(array).__name__,
)
def test_arrays_that_cannot_be_stored(array):
    with pytest.raises(ArrayTypeError):
        MemoryStorage(1, [array])
    with MemoryStorage(1) as storage:
        with pytest.raises(ArrayTypeError) as caught:
            storage.save(0, [array], 2)
        assert_names(caught, 0, 2)
        storage.save(0, [np.zeros(2)], 2)


def test_loading_into_a_read_only_array_changes_nothing():
    state = [np.ones(3), np.ones(4)]
    target = [np.zeros(3), np.zeros(4)]
    target[1].flags.writeable = False
    with MemoryStorage(1, state) as storage:
        storage.save(0, state, 3)
        with pytest.raises(ArrayTypeError, match="read-only") as caught:
            storage.load(0, target, 3)
        assert_names(caught, 0, 3)
        assert not target[0].any()
        state[1].flags.writeable = False
        storage.free(0)
        storage.save(0, state, 3)  # a source may well be


def test_closed():
    array = np.zeros(3)
    storage = MemoryStorage(2, [array])
    storage.save(0, [array], 1)
    storage.close()
    storage.close()
    assert storage.nbytes == 0
    assert "closed" in repr(storage)
    storage.clear()
    for call in (
        lambda: storage.save(1, [array], 1),
        lambda: storage.load(0, [array], 1),
        lambda: storage.free(0),
    ):
        with pytest.raises(StorageError, match="closed"):
            call()


@pytest.mark.parametrize(
    ("n_slots", "keywords", "error"),
    [
        (-1, {}, ValueError),
        (1.0, {}, TypeError),
        ("2", {}, TypeError),
        (1, {"threads": 0}, ValueError),
        (1, {"threads": -2}, ValueError),
        (1, {"threads": 1.5}, TypeError),
        (1 << 20, {"arrays_like": [np.broadcast_to(0.0, 1 << 40)]}, OverflowError),
        (1 << 10, {"arrays_like": [np.broadcast_to(0.0, 1 << 40)]}, MemoryError),
    ],
)
def test_bad_arguments(n_slots, keywords, error):
    with pytest.raises(error):
        MemoryStorage(n_slots, **keywords)


def test_errors_survive_pickling():
    error = ArrayShapeError("too long", "RAM", 3, 8)
    for other in (pickle.loads(pickle.dumps(error)), copy.copy(error)):
        assert type(other) is ArrayShapeError
        assert str(other) == str(error) == "too long (tier RAM, slot 3, timestep 8)"
        assert (other.tier, other.slot, other.timestep) == ("RAM", 3, 8)
    assert str(StorageError("full", "disk")) == "full (tier disk)"


def test_storages_in_several_threads():
    failures = []

    def work(seed):
        arrays = [filled(200_001, "f4", seed), filled(17, "f8", seed)]
        target = [np.zeros_like(array) for array in arrays]
        with MemoryStorage(3, arrays, threads=2) as storage:
            for t in range(30):
                storage.save(t % 3, arrays, t)
                storage.load(t % 3, target, t)
                storage.free(t % 3)
                if any(a.tobytes() != b.tobytes() for a, b in zip(arrays, target, strict=True)):
                    failures.append((seed, t))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


def test_a_state_that_is_no_list_of_arrays():
    array = np.arange(3.0)
    storage = MemoryStorage(2)
    with pytest.raises(ArrayTypeError, match="the state must be a list of arrays, got None"):
        storage.save(0, None, 0)
    with pytest.raises(ArrayTypeError, match=r"got float64; return \[x\], a list of arrays"):
        storage.save(0, array, 0)
    storage.save(0, [array], 0)
    with pytest.raises(ArrayTypeError, match=r"got float64; return \[x\], a list of arrays"):
        storage.load(0, array, 0)
    with pytest.raises(ArrayTypeError, match="the state must be a list of arrays, got None"):
        storage.load(0, None, 0)
    with pytest.raises(ArrayTypeError, match="got str"):
        MemoryStorage(2, "x")
