"""Every storage beside a dictionary: whatever is called in whatever order, it holds what was saved."""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrevolve import StorageError, compression
from pyrevolve.crevolve import Content, Kind
from pyrevolve.errors import ArrayTypeError, StorageFullError
from pyrevolve.storage import DiskStorage, MemoryStorage
from pyrevolve.storage.space import Space

DTYPES = ["f4", "f8", "f2", ">f8", "c16", "i1", "?", "i4,f8", "S5", "U2", "V5", "M8[s]", "g"]
SHAPES = [(), (0,), (2, 0, 3), (1,), (7,), (3, 5), (2, 3, 4), (40, 6), (1300,), (2, 1, 2, 1, 3)]
VIEWS = ["contiguous", "stepped", "reversed", "transposed", "inside"]
CODECS = [None, "lz4", "zstd", "pcodec"]
PACKAGES = {"lz4": "numcodecs", "zstd": "numcodecs", "pcodec": "pcodec"}
CONTENTS = [Content.STATE, Content.STATE, Content.STEP_DATA]

#: Shapes and dtypes of the arrays of one content.
LAYOUTS = st.lists(st.tuples(st.sampled_from(SHAPES), st.sampled_from(DTYPES)), max_size=4)


def arrays_like(layout):
    return [np.zeros(shape, dtype) for shape, dtype in layout]


def values(layout, seed):
    """Return arrays of a kind that the seed decides: zeros, arbitrary bytes, or a bit of both."""
    random = np.random.default_rng(seed)
    arrays = arrays_like(layout)
    for array in arrays:
        if seed % 3 and array.nbytes:
            some = np.frombuffer(random.bytes(array.nbytes), "u1").copy()
            if array.dtype == bool:
                some &= 1
            if seed % 3 == 2:
                some[: some.size * 3 // 4] = 0
            array[...] = some.view(array.dtype).reshape(array.shape)
    return arrays


def laid_out(array, how, fill):
    """Return an equal array within another one that is filled with a byte, and that other one."""
    shape = array.shape
    if how == "transposed":
        base = np.empty(shape[::-1], array.dtype)
        view = base.T
    elif how == "inside":
        base = np.empty(tuple(n + 2 for n in shape), array.dtype)
        view = base[(*(slice(1, n + 1) for n in shape), ...)]
    else:
        step = {"contiguous": 1, "stepped": 2, "reversed": -1}[how]
        base = np.empty(tuple(n * abs(step) for n in shape), array.dtype)
        view = base[(*(slice(None, None, step) for _ in shape), ...)]
    if base.nbytes:
        base.reshape(-1).view("u1")[:] = fill
    view[...] = array
    return view, base


@functools.cache
def has_direct_io():
    """Tell whether files in the temporary directory can go past the page cache."""
    try:
        DiskStorage(1, [np.zeros(1000)], direct=True).close()
    except StorageError:
        return False
    return True


class Model:
    """What a storage must hold, and the calls that change it, made on both."""

    def __init__(self, data, storage, layouts, twin, space):
        self.data = data
        self.storage = storage
        self.layouts = layouts
        #: A storage with room for anything, which tells how many bytes a snapshot needs; and for bare
        #: snapshots in RAM, which lie in one piece, who has which of the bytes.
        self.twin = twin
        self.space = space
        self.held = {}
        self.t = 0

    def draw_views(self, arrays, fill):
        return zip(*(laid_out(a, self.data.draw(st.sampled_from(VIEWS)), fill) for a in arrays), strict=True)

    def draw_slot(self):
        slots = st.integers(0, min(self.storage.n_slots, 6) - 1)
        if self.storage.elastic:
            slots |= st.sampled_from([17, 10_000, 2**40])
        return self.data.draw(slots | st.sampled_from(sorted(self.held) or [0]))

    def save(self):
        slot, content = self.draw_slot(), self.data.draw(st.sampled_from(CONTENTS))
        arrays = values(self.layouts[content], self.data.draw(st.integers(0, 99)))
        views, _ = self.draw_views(arrays, 0xA5) if arrays else ((), ())
        self.t += 1
        before = self.state()
        if slot in self.held:
            with pytest.raises(StorageError, match="still holds") as caught:
                self.storage.save(slot, views, self.t, content)
            assert not isinstance(caught.value, StorageFullError)
            assert self.state() == before
            return
        need, extents = self.need(arrays, content)
        if extents is None:
            with pytest.raises(StorageFullError) as caught:
                self.storage.save(slot, views, self.t, content)
            assert (caught.value.slot, caught.value.timestep) == (slot, self.t)
            assert self.state() == before
            return
        assert self.storage.save(slot, views, self.t, content) == sum(array.nbytes for array in arrays)
        for view in views:
            if view.nbytes:
                view[...] = np.zeros((), view.dtype)  # the storage has a copy
        assert self.storage.stored_nbytes(slot) == need
        self.held[slot] = self.t, content, arrays, extents

    def need(self, arrays, content):
        """Return the bytes that a snapshot takes, and which; None for those where they do not fit."""
        self.twin.save(0, arrays, 0, content)
        need = self.twin.stored_nbytes(0)
        self.twin.free(0)
        if self.space is not None:
            return need, self.space.take(need)
        left = self.storage.bytes_left
        return need, () if left is None or need <= left else None

    def load(self):
        slot = self.draw_slot()
        if slot not in self.held:
            with pytest.raises(StorageError, match="empty"):
                self.storage.load(slot, values(self.layouts[0], 1), 3)
            return
        self.check(slot, *self.held[slot][:3])

    def check(self, slot, t, content, expected):
        targets, bases = (), ()
        if expected:
            targets, bases = self.draw_views([np.zeros_like(array) for array in expected], 0x5A)
        assert self.storage.load(slot, targets, t, content) == sum(array.nbytes for array in expected)
        for found, base, array in zip(targets, bases, expected, strict=True):
            assert found.tobytes() == array.tobytes()
            if base.nbytes:
                found[...] = np.zeros((), found.dtype)
                around = np.frombuffer(base.tobytes(), "u1")
                assert np.isin(around, [0, 0x5A]).all()

    def load_another_timestep(self):
        slot = self.draw_slot()
        content = self.held[slot][1] if slot in self.held else Content.STATE
        with pytest.raises(StorageError, match="cannot load"):
            self.storage.load(slot, arrays_like(self.layouts[content]), self.t + 1, content)

    def load_what_is_read_only(self):
        slot = self.draw_slot()
        if slot in self.held:
            t, content, expected, _ = self.held[slot]
            targets = [np.zeros_like(array) for array in expected]
            for target in targets:
                target.flags.writeable = False
            with pytest.raises(ArrayTypeError) if targets else contextlib.nullcontext():
                self.storage.load(slot, targets, t, content)
            assert all(target.tobytes() == bytes(target.nbytes) for target in targets)

    def free(self):
        slot = self.draw_slot()
        if slot not in self.held:
            with pytest.raises(StorageError, match="empty"):
                self.storage.free(slot)
            return
        self.storage.free(slot)
        extents = self.held.pop(slot)[3]
        if self.space is not None:
            self.space.give_back(extents)
        assert self.storage.stored_nbytes(slot) == 0

    def prefetch(self):
        for slot in self.data.draw(st.permutations([*self.held, self.draw_slot()])):
            self.storage.prefetch(slot)

    def forget(self):
        self.storage.forget()

    def flush(self):
        self.storage.flush()

    def clear(self):
        self.storage.clear()
        self.held = {}
        if self.space is not None:
            self.space.clear()

    def state(self):
        """Return what can be seen of the storage without loading."""
        slots = {slot: self.storage.stored_nbytes(slot) for slot in self.held}
        return self.storage.bytes_left, slots, repr(self.storage)

    def end(self):
        for slot, (t, content, expected, _) in self.held.items():
            self.check(slot, t, content, expected)
        if self.storage.bytes_left is not None:
            used = sum(map(self.storage.stored_nbytes, self.held))
            self.storage.clear()
            empty = self.storage.bytes_left
            for slot, (t, content, expected, _) in self.held.items():
                with contextlib.suppress(StorageFullError):
                    self.storage.save(slot, expected, t, content)
            assert empty - self.storage.bytes_left <= used


#: Often what changes something, now and then what hardly does.
CALLS = [Model.save] * 5 + [Model.load] * 3 + [Model.free] * 2 + [Model.prefetch] * 2
CALLS += [Model.forget, Model.flush, Model.load_another_timestep, Model.load_what_is_read_only, Model.clear]


def draw_options(data, kind, codec):
    """Return keywords for a storage, and whether it has slots as they fit."""
    options = {"compression": codec, "checksum": data.draw(st.sampled_from([False, True, "crc32"]))}
    if kind is MemoryStorage:
        options["threads"] = data.draw(st.integers(1, 2))
    else:
        options["buffers"] = data.draw(st.integers(1, 3))
        options["direct"] = data.draw(st.sampled_from([None, True] if has_direct_io() else [None, False]))
        options["fsync"] = data.draw(st.sampled_from([False] * 9 + [True]))
    return options


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    """Make a directory that must be empty whenever nothing is stored."""
    return tmp_path_factory.mktemp("storages")


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
@settings(max_examples=60)
@given(data=st.data(), layouts=st.tuples(LAYOUTS, LAYOUTS), n_calls=st.integers(0, 50))
def test_storage_is_a_dictionary(kind, codec, data, layouts, n_calls, directory):
    if codec is not None:
        pytest.importorskip(PACKAGES[codec], reason='needs a codec: pip install "pyrevolve[compression]"')
    states, step_data = map(arrays_like, layouts)
    options = draw_options(data, kind, codec)
    n_slots = data.draw(st.none() | st.integers(1, 5), "n_slots")
    room = None
    if n_slots is None or data.draw(st.booleans(), "whether there is a room"):
        room = data.draw(st.integers(0, 12), "room") * (1024 if kind is MemoryStorage else 4096)
    space = Space(room, 64) if room is not None and kind is MemoryStorage and codec is None else None
    with contextlib.ExitStack() as open_now:
        patch = open_now.enter_context(pytest.MonkeyPatch.context())
        patch.setattr(compression, "PIECE_BYTES", data.draw(st.sampled_from([100, 1000, 8 << 20]), "piece"))
        patch.setattr(tempfile, "tempdir", str(directory))
        twin, storage = (
            open_now.enter_context(kind(slots, states, step_data_like=step_data, room=bytes_, **options))
            for slots, bytes_ in ((None, 1 << 17), (n_slots, room))
        )
        model = Model(data, storage, layouts, twin, space)
        for _ in range(n_calls):
            data.draw(st.sampled_from(CALLS))(model)
        model.end()
    assert not list(directory.iterdir())


@pytest.mark.parametrize("codec", [None, "lz4"])
@settings(max_examples=50)
@given(data=st.data(), n_calls=st.integers(0, 60), elastic=st.booleans(), buffers=st.integers(1, 3))
def test_index_tells_what_a_storage_holds_until_the_next_hold(
    codec, data, n_calls, elastic, buffers, directory
):
    """Whatever is saved and freed in between, and wherever the process is killed."""
    if codec is not None:
        pytest.importorskip(PACKAGES[codec], reason='needs a codec: pip install "pyrevolve[compression]"')
    layouts = [[((500,), "f8"), ((), "i4"), ((7, 11), "f4")], [((1300,), "f8")]]
    states, step_data = map(arrays_like, layouts)
    room = data.draw(st.integers(2, 12), "room") * 4096
    if not elastic and data.draw(st.booleans(), "whether slots have bytes of their own"):
        room = None
    options = {"step_data_like": step_data, "room": room, "compression": codec, "buffers": buffers}
    n_slots = None if elastic else 6
    with contextlib.ExitStack() as open_now:
        folder, *copies = (
            open_now.enter_context(tempfile.TemporaryDirectory(dir=directory)) for _ in range(3)
        )
        storage = open_now.enter_context(DiskStorage(n_slots, states, folder=folder, **options))
        assert storage.resumable
        index, held, indexed = storage.index(), {}, {}
        for t in range(n_calls):
            slot, what = data.draw(st.integers(0, 5)), data.draw(st.sampled_from("ssssfffli"))
            if what == "i":
                index, indexed = json.loads(json.dumps(storage.index())), dict(held)
                storage.hold()
                assert not storage.deferred
            elif what == "l" and slot in held:
                load_and_compare(storage, slot, *held[slot])
            elif what == "f" and slot in held:
                storage.free(slot)
                del held[slot]
            elif what == "s" and slot not in held:
                content = data.draw(st.sampled_from(CONTENTS))
                arrays = values(layouts[content], t)
                with contextlib.suppress(StorageFullError):
                    storage.save(slot, arrays, t, content)
                    held[slot] = t, content, arrays
        if data.draw(st.booleans(), "whether it is killed"):
            shutil.copy(storage.path, copies[0])
        else:
            index, indexed = json.loads(json.dumps(storage.index())), held
            storage.close()
            shutil.copy(storage.path, copies[0])
        for killed_again in (True, False):
            with DiskStorage(n_slots, states, folder=copies[not killed_again], **options) as other:
                other.restore(index)
                for slot in indexed:
                    other.prefetch(slot)
                for slot, what in indexed.items():
                    load_and_compare(other, slot, *what)
                assert other.timesteps.count(None) == len(other.timesteps) - len(indexed)
                for slot in indexed:
                    other.free(slot)
                if killed_again:
                    for slot in range(6):
                        with contextlib.suppress(StorageFullError):
                            other.save(slot, values(layouts[0], slot), 1000)
                    other.flush()
                    shutil.copy(other.path, copies[1])
                else:
                    other.hold()
                    assert other.bytes_left == other.nbytes


@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
def test_first_save_that_does_not_fit_decides_nothing(kind, tmp_path):
    keywords = {} if kind is MemoryStorage else {"directory": tmp_path}
    with kind(None, [np.zeros(2000)], room=20480, **keywords) as storage:
        storage.save(0, [np.zeros(2000)], 0)
        for _ in range(2):
            with pytest.raises(StorageFullError):
                storage.save(1, [np.zeros(1900)], 1, Content.STEP_DATA)
        storage.free(0)
        storage.save(1, [np.ones(3, "f4")], 1, Content.STEP_DATA)
        load_and_compare(storage, 1, 1, Content.STEP_DATA, [np.ones(3, "f4")])


def load_and_compare(storage, slot, t, content, expected):
    found = [np.zeros_like(array) for array in expected]
    storage.load(slot, found, t, content)
    assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]


@pytest.mark.parametrize(
    ("kind", "codec"), [(MemoryStorage, "lz4"), (DiskStorage, "lz4"), (DiskStorage, None)]
)
def test_bytes_that_lie_scattered_are_all_of_use(kind, codec, tmp_path):
    """But for bare snapshots in RAM, which lie in one piece."""
    if codec is not None:
        pytest.importorskip(PACKAGES[codec], reason='needs a codec: pip install "pyrevolve[compression]"')
    random = np.random.default_rng(1)
    small, large = ([np.frombuffer(random.bytes(n), "u1")] for n in (4096, 20480))
    keywords = {} if kind is MemoryStorage else {"directory": tmp_path}
    storage = kind(None, small, step_data_like=large, room=10 * 4096, compression=codec, **keywords)
    with storage:
        for slot in range(10):
            storage.save(slot, small, slot)
        for slot in range(0, 10, 2):
            storage.free(slot)
        assert storage.bytes_left == 20480
        storage.save(20, large, 20, Content.STEP_DATA)
        assert storage.bytes_left == 0
        with pytest.raises(StorageFullError):
            storage.save(0, small, 30)
        for slot, expected, content in [(n, small, 0) for n in range(1, 10, 2)] + [(20, large, 1)]:
            found = np.zeros_like(expected[0])
            storage.load(slot, [found], slot, Content(content))
            assert found.tobytes() == expected[0].tobytes()
        storage.free(20)
        assert storage.bytes_left == 20480


@pytest.mark.parametrize("kind", [MemoryStorage, DiskStorage])
@given(
    calls=st.lists(st.tuples(st.integers(0, 5), st.sampled_from(CONTENTS)), max_size=40),
    sizes=st.tuples(st.integers(1, 9000), st.integers(1, 9000)),
)
def test_room_for_a_schedule_is_what_it_needs(kind, calls, sizes):
    """However the tier rounds."""

    class Step:
        """What `room_for` looks at."""

        tier = 0

        def __init__(self, kind, slot, content=None, keep=False):
            self.kind, self.slot, self.content, self.keep = kind, slot, content, keep

    arrays = [[np.zeros(size, "u1")] for size in sizes]
    held, schedule = set(), []
    for slot, content in calls:
        if slot in held:
            schedule.append(Step(Kind.FREE, slot))
        else:
            schedule.append(Step(Kind.SAVE, slot, content, keep=True))
        held ^= {slot}
    room = kind.room_for(schedule, 0, *arrays)
    with kind(6, arrays[0], step_data_like=arrays[1], room=room) as storage:
        for t, step in enumerate(schedule):
            if step.kind is Kind.SAVE:
                storage.save(step.slot, arrays[step.content], t, step.content)
            else:
                storage.free(step.slot)
