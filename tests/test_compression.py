"""Compressed snapshots: exact where that is promised, and within a known error where it is not."""

from __future__ import annotations

import contextlib
import math
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pyrevolve import StorageError, compression
from pyrevolve.compression import Compression, CompressionLoss, as_compression, lossless, rounded, zfp
from pyrevolve.errors import StorageFullError
from pyrevolve.storage import DiskStorage, MemoryStorage

numcodecs = pytest.importorskip("numcodecs", reason='needs numcodecs: pip install "pyrevolve[compression]"')

DTYPES = ["f4", "f8", "f2", ">f8", "c16", "i1", "?", "i4,f8", "S5", "U2", "V5", "M8[s]", "g"]
MORE_DTYPES = ["u2", "i4", "u8", "q", "Q", ">i2", "c8", ">c8", "G", "m8[ms]"]
SHAPES = [(), (1,), (300,), (3, 50), (2, 3, 4, 5), (2, 1, 3, 2, 5), (0,), (4, 0, 2)]


@pytest.fixture(params=["lz4", "zstd", "pcodec"])
def exact(request):
    """Name a codec that changes nothing."""
    if request.param == "pcodec":
        pytest.importorskip("pcodec", reason='needs pcodec: pip install "pyrevolve[compression]"')
    return request.param


@pytest.fixture(params=["zfp(tolerance)", "zfp(precision)", "rounded"])
def lossy(request):
    """Return compression that changes floating-point numbers."""
    if request.param == "rounded":
        return rounded(9)
    pytest.importorskip("zfpy", reason='needs zfpy: pip install "pyrevolve[zfp]"')
    return zfp(tolerance=1e-3) if request.param == "zfp(tolerance)" else zfp(precision=20)


@pytest.fixture
def needs_zfp():
    pytest.importorskip("zfpy", reason='needs zfpy: pip install "pyrevolve[zfp]"')


@pytest.fixture(params=[MemoryStorage, DiskStorage])
def kind(request, tmp_path, monkeypatch):
    """Name a kind of storage; files are made in a directory of the test."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return request.param


def random_bytes(shape, dtype, seed=0):
    """Return an array of arbitrary bytes, NaN payloads and all."""
    array = np.empty(shape, dtype)
    random = np.random.default_rng(seed)
    if array.dtype == bool:
        array[...] = random.integers(0, 2, shape)
    elif array.nbytes:
        array[...] = np.frombuffer(random.bytes(array.nbytes), dtype).reshape(shape)
    return array


def smooth(shape, dtype="f4", scale=1.0):
    """Return a field that compresses well."""
    total = sum(np.sin(0.07 * (axis + 1) * index) for axis, index in enumerate(np.indices(shape)))
    return np.asarray(scale * total, dtype)


def saved_and_loaded(compression, arrays, kind=MemoryStorage, **keywords):
    """Return what comes back, and the storage, closed."""
    targets = [random_bytes(array.shape, array.dtype, seed=9) for array in arrays]
    with kind(1, arrays, compression=compression, **keywords) as storage:
        storage.save(0, arrays, 5)
        storage.load(0, targets, 5)
    return targets, storage


def assert_equal_bytes(found, expected):
    assert [array.tobytes() for array in found] == [array.tobytes() for array in expected]


def largest_error(given, found):
    """Return the largest absolute error of finite numbers, absolute and of the largest magnitude."""
    given, found = given.astype("g"), found.astype("g")
    worst, largest = np.abs(given - found).max(), np.abs(given).max()
    return float(worst), float(worst / largest) if worst else 0.0


# --- exact


@pytest.mark.parametrize("dtype", DTYPES + MORE_DTYPES)
def test_lossless_codecs_give_back_every_bit(exact, dtype, kind):
    arrays = [random_bytes(shape, dtype, seed) for seed, shape in enumerate(SHAPES)]
    arrays += [np.zeros_like(array) for array in arrays]
    targets, storage = saved_and_loaded(exact, arrays, kind)
    assert_equal_bytes(targets, arrays)
    assert storage.compression_error == CompressionLoss()


@pytest.mark.parametrize("level", [0, 9, 12])
def test_lossless_codecs_give_back_every_bit_at_every_level(exact, level):
    if level == 12 and exact != "pcodec":
        pytest.skip("Blosc has levels up to 9")
    arrays = [smooth((30, 40)), random_bytes(1000, "f8"), np.arange(500)]
    assert_equal_bytes(saved_and_loaded(lossless(exact, level), arrays)[0], arrays)


def test_not_a_number_keeps_its_payload(exact):
    payloads = np.arange(0x7F800001, 0x7F800001 + 5000, dtype="u4").view("f4")
    quiet = np.arange(-5000, 0, dtype="i8").view("f8")
    assert_equal_bytes(saved_and_loaded(exact, [payloads, quiet])[0], [payloads, quiet])


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.lists(st.integers(0, 7), max_size=5),
    dtype=st.sampled_from(DTYPES),
    piece=st.integers(1, 400),
    data=st.data(),
)
def test_pieces_are_put_together_as_they_were(seed, shape, dtype, piece, data):
    """Arrays are cut into pieces, of strided views too, and nothing around these is touched."""
    steps = tuple(slice(None, None, data.draw(st.sampled_from([1, 2, -1, -2]))) for _ in shape)
    order = data.draw(st.permutations(range(len(shape))))
    source = random_bytes(shape, dtype, seed)[(*steps, ...)].transpose(order)
    base = random_bytes(shape, dtype, seed + 1)
    target = base[(*steps, ...)].transpose(order)
    inside = np.zeros(shape, bool)
    inside[(*steps, ...)] = True
    before = base.copy()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "PIECE_BYTES", piece)
        with MemoryStorage(1, [source], compression="lz4") as storage:
            storage.save(0, [source], 0)
            storage.load(0, [target], 0)
    assert target.tobytes() == source.tobytes()
    assert base[~inside].tobytes() == before[~inside].tobytes()


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if dtype not in ("f4", "f8", "f2")])
def test_lossy_codecs_keep_everything_but_floating_point_numbers(lossy, dtype):
    arrays = [random_bytes((7, 30), dtype), np.zeros(300, dtype), random_bytes((), dtype)]
    targets, storage = saved_and_loaded(lossy, arrays)
    assert_equal_bytes(targets, arrays)
    assert not storage.compression_error.measured


# --- within an error


@given(
    shape=st.lists(st.integers(1, 13), min_size=0, max_size=4),
    dtype=st.sampled_from(["f4", "f8"]),
    tolerance=st.floats(1e-12, 1e3),
    scale=st.floats(1e-10, 1e10),
    noise=st.sampled_from([0.0, 1e-3, 1.0]),
    piece=st.sampled_from([200, 8 << 20]),
)
def test_zfp_stays_within_its_tolerance_and_tells_its_error(shape, dtype, tolerance, scale, noise, piece):
    """Also where the tolerance asks for more than ZFP can give, for numbers of this size."""
    pytest.importorskip("zfpy", reason='needs zfpy: pip install "pyrevolve[zfp]"')
    random = np.random.default_rng(len(shape))
    field = np.asarray(smooth(shape, "f8", scale) + noise * scale * random.normal(size=shape), dtype)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compression, "PIECE_BYTES", piece)
        (found,), storage = saved_and_loaded(zfp(tolerance=tolerance), [field])
    worst, relative = largest_error(field, found)
    assert worst <= tolerance
    assert storage.compression_error.measured
    assert storage.compression_error.absolute == pytest.approx(worst, rel=1e-12)
    assert storage.compression_error.relative == pytest.approx(relative, rel=1e-12)


@given(
    bits=st.integers(1, 52),
    dtype=st.sampled_from(["f2", "f4", "f8"]),
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(), (1,), (1000,), (3, 40, 5)]),
)
def test_rounded_numbers_are_within_half_a_unit_of_their_last_bit(bits, dtype, seed, shape):
    field = random_bytes(shape, dtype, seed)
    tiny = np.finfo(dtype).smallest_normal
    # Numbers so large that they would round to infinity are a matter of another test.
    field = np.where(np.isfinite(field) & (np.abs(field) < np.finfo(dtype).max / 4), field, 1).astype(dtype)
    (found,), storage = saved_and_loaded(rounded(bits), [field])
    error = np.abs(field.astype("g") - found.astype("g"))
    assert (error <= 2.0 ** -(bits + 1) * np.maximum(np.abs(field.astype("g")), tiny)).all()
    worst, relative = largest_error(field, found)
    assert storage.compression_error.absolute == pytest.approx(worst, rel=1e-12)
    assert storage.compression_error.relative == pytest.approx(relative, rel=1e-12)


def test_mantissa_that_is_kept_whole_stays_exact():
    arrays = [smooth((40, 50), dtype, 3.7) for dtype in ("f2", "f4", "f8")]
    targets, storage = saved_and_loaded(rounded(52), arrays)
    assert_equal_bytes(targets, arrays)
    assert (storage.compression_error.absolute, storage.compression_error.measured) == (0.0, True)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("measure_error", [True, False])
def test_what_is_not_finite_is_not_lost_and_spoils_nothing(dtype, value, measure_error, needs_zfp):
    field = smooth((40, 50), dtype)
    field[7, 8] = value
    for how in (
        zfp(tolerance=1e-3, measure_error=measure_error),
        zfp(precision=16, measure_error=measure_error),
        rounded(5, measure_error=measure_error),
    ):
        (found,), _ = saved_and_loaded(how, [field])
        np.testing.assert_array_equal(found[7, 8], field[7, 8], str(how))
        usual = np.isfinite(field)
        assert np.abs(field[usual] - found[usual]).max() <= 2**-5


@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_number_that_would_become_infinite_stays_as_it_is(dtype, needs_zfp):
    """Unless errors are not measured."""
    field = smooth((40, 50), dtype)
    field[7, 8] = np.finfo(dtype).max
    for how in (zfp(tolerance=1e-3), zfp(precision=16), rounded(5)):
        (found,), storage = saved_and_loaded(how, [field])
        assert found.tobytes() == field.tobytes()
        assert storage.compression_error == CompressionLoss(0.0, 0.0, True)


def test_every_payload_of_not_a_number_survives_rounding():
    field = np.full(1000, 0xFFFFFFFF, "u4").view("f4")
    (found,), _ = saved_and_loaded(rounded(3), [field])
    assert found.tobytes() == field.tobytes()


def test_errors_are_the_largest_of_all_that_was_saved(needs_zfp):
    fields = [smooth((30, 30), "f4", scale) for scale in (1.0, 100.0, 0.01)]
    expected = []
    with MemoryStorage(3, fields[:1], compression=zfp(precision=12)) as storage:
        assert str(storage.compression_error) == "no error was measured"
        for slot, field in enumerate(fields):
            storage.save(slot, [field], slot)
            found = np.zeros_like(field)
            storage.load(slot, [found], slot)
            expected.append(largest_error(field, found))
        error = storage.compression_error
        assert error.absolute == pytest.approx(max(worst for worst, _ in expected))
        assert error.relative == pytest.approx(max(relative for _, relative in expected))
        assert f"{error.absolute:.3g}" in str(error)


def test_error_is_relative_to_the_whole_array_however_it_is_cut(monkeypatch):
    monkeypatch.setattr(compression, "PIECE_BYTES", 400)
    field = np.linspace(1.0, 1000.0, 5000).astype("f4").reshape(50, 100)
    (found,), storage = saved_and_loaded(rounded(4), [field])
    assert storage.compression_error.relative == pytest.approx(largest_error(field, found)[1])


def test_error_that_is_not_measured_is_not_reported(needs_zfp):
    for how in (zfp(tolerance=0.1, measure_error=False), rounded(3, measure_error=False)):
        (found,), storage = saved_and_loaded(how, [smooth((40, 40))])
        assert not storage.compression_error.measured
        assert np.abs(found - smooth((40, 40))).max() <= 2 * 2**-4


def test_zero_fields_have_no_error(lossy):
    (found,), storage = saved_and_loaded(lossy, [np.zeros((20, 20))])
    assert not found.any()
    assert storage.compression_error == CompressionLoss(0.0, 0.0, True)


# --- bytes


@pytest.mark.parametrize("piece", [100, 1000, 8 << 20])
def test_incompressible_data_takes_no_more_than_bare_data(kind, exact, piece, monkeypatch):
    """As many slots as were asked for can be filled, whatever is in them."""
    monkeypatch.setattr(compression, "PIECE_BYTES", piece)
    arrays = [random_bytes(shape, "u1", 3) for shape in ((7, 333), (5000,), (3,), (2, 2, 129))]
    with kind(3, arrays) as bare, kind(3, arrays, compression=exact) as storage:
        assert storage.nbytes == bare.nbytes
        for slot in range(3):
            bare.save(slot, arrays, slot)
            storage.save(slot, arrays, slot)
            assert 0 < storage.stored_nbytes(slot) <= bare.stored_nbytes(slot)
        assert 0.9 < storage.compression_ratio <= 1.0
        for slot in range(3):
            targets = [np.zeros_like(array) for array in arrays]
            storage.load(slot, targets, slot)
            assert_equal_bytes(targets, arrays)


def test_compressible_data_leaves_room_for_more(kind, exact):
    field = smooth((300, 400))
    field[100:] = 0.0
    with kind(None, [field], room=235 * 4096, compression=exact) as storage:
        count = 0
        with contextlib.suppress(StorageFullError):
            for count in range(100):
                storage.save(count, [field], count)
        assert 4 < count < 99
        assert storage.bytes_left == storage.nbytes - sum(map(storage.stored_nbytes, range(count)))
        assert storage.bytes_left < storage.stored_nbytes(0)
        assert storage.compression_ratio > count / 2 - 1
        found = np.zeros_like(field)
        for slot in range(count):
            storage.load(slot, [found], slot)
            assert found.tobytes() == field.tobytes()


def test_ratio_compares_what_was_given_with_what_is_kept():
    class Half(TruncatingCodec):
        keep = 0.5

    fields = [np.zeros(1000), np.zeros(3000)]
    with MemoryStorage(2, fields, compression=Compression(codec=Half(), lossless=True)) as storage:
        assert storage.compression_ratio == 1.0
        storage.save(0, fields, 0)
        assert storage.compression_ratio == 2.0
    with MemoryStorage(1, fields) as storage:
        storage.save(0, fields, 0)
        assert storage.compression_ratio == 1.0


@pytest.mark.parametrize("layout", ["contiguous", "transposed", "stepped"])
@pytest.mark.parametrize("content", ["smooth", "random"])
@pytest.mark.parametrize("name", ["lz4", "zstd", "pcodec", "zfp", "rounded", "mine"])
def test_scratch_memory_is_what_is_announced(kind, name, content, layout, monkeypatch):
    """Of what Python and numpy allocate, the slots and buffers left out, with arrays of several pieces."""
    monkeypatch.setattr(compression, "PIECE_BYTES", 1 << 19)
    if name == "zfp":
        pytest.importorskip("zfpy", reason='needs zfpy: pip install "pyrevolve[zfp]"')
    if name == "pcodec":
        pytest.importorskip("pcodec", reason='needs pcodec: pip install "pyrevolve[compression]"')
    how = {"zfp": lambda: zfp(precision=18), "rounded": lambda: rounded(8), "mine": lambda: Mine()}.get(
        name, lambda: lossless(name)
    )()
    shape = (2000, 1600 if name == "mine" else 400)
    if content == "smooth":
        field = smooth(shape)
    elif name == "mine":
        field = random_bytes(shape, "u1")
    else:
        field = np.random.default_rng(0).normal(size=shape).astype("f4")
    if layout == "transposed":
        field = np.asfortranarray(field)
    elif layout == "stepped":
        field = np.repeat(field, 2, axis=1)[:, ::2]
    target = np.zeros_like(field)
    announced = as_compression(how).scratch_bytes([field])
    assert announced <= 6 * compression.PIECE_BYTES < field.nbytes
    with kind(1, [field], compression=how) as storage:
        for call in (storage.save, storage.load):
            arrays = [field if call == storage.save else target]
            tracemalloc.start()
            try:
                call(0, arrays, 0)
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            assert peak <= announced + (64 << 10)  # the objects themselves, and codecs' headers


# --- codecs of one's own


class Mine:
    """Every value of a small range as one byte; it has the interface of numcodecs and nothing else."""

    def encode(self, buf):
        assert buf.flags.c_contiguous
        assert 1 <= buf.ndim <= 4
        return np.packbits(buf.reshape(-1).view("u1") & 0x0F != 0)

    def decode(self, buf, out=None):
        assert out.flags.c_contiguous
        out.reshape(-1).view("u1")[:] = np.unpackbits(np.frombuffer(buf, "u1"), count=out.nbytes)
        return out


class TruncatingCodec:
    """Zeros, of which only so many are kept."""

    keep = 0.25

    def encode(self, buf):
        return bytes(int(buf.nbytes * self.keep))

    def decode(self, buf, out=None):
        out[...] = 0


def test_codec_of_the_users_own(kind):
    field = np.random.default_rng(0).integers(0, 2, (50, 60, 7)).astype("u1")
    (found,), storage = saved_and_loaded(Compression(codec=Mine(), lossless=True), [field], kind)
    assert found.tobytes() == field.tobytes()
    assert storage.compression_ratio == pytest.approx(8, rel=0.01)
    assert not storage.compression_error.measured
    named = Compression(codec=Mine(), lossless=False, dtypes=frozenset({"uint8"}), name="Mine")
    (found,), storage = saved_and_loaded(named, [field], kind)
    assert storage.compression_error == CompressionLoss(0.0, 0.0, True)
    assert "Mine" in repr(storage)


@pytest.mark.parametrize(
    "dtype", ["i8", "u1", "c8", "f4", "f8", "f2", "g", "?", ">f4", ">c16", "i4,f8", "S5"]
)
@pytest.mark.parametrize("named", [False, True])
def test_lossy_codec_of_the_users_own_gets_numbers_that_it_can_know(dtype, named):
    """Floating-point numbers, integers where it is said to take them, and never what only looks like them."""
    field = np.asarray(np.arange(1000) % 2 * 3).astype(dtype)
    dtypes = frozenset({field.dtype.name})
    codec = (
        Compression(codec=TruncatingCodec(), lossless=False, dtypes=dtypes) if named else TruncatingCodec()
    )
    (found,), storage = saved_and_loaded(codec, [field])
    if dtype in ("c8", "f4", "f8", "f2", "g") or (named and dtype in ("i8", "u1")):
        assert not found.any()
        assert storage.compression_error == CompressionLoss(3.0, 1.0, True)
    elif not named or dtype.startswith(">"):
        assert found.tobytes() == field.tobytes()
        assert not storage.compression_error.measured


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
def test_error_is_that_of_the_numbers_in_either_byte_order(dtype):
    class Halves:
        """The upper half of every number's bits, whatever it is."""

        def encode(self, buf):
            return numcodecs.Zlib().encode(buf.view("u8") >> np.uint64(40) << np.uint64(40))

        def decode(self, buf, out=None):
            return numcodecs.Zlib().decode(buf, out=out)

    field = np.sin(1 + np.arange(5000) * 1e-3).astype(dtype)
    (found,), storage = saved_and_loaded(Halves(), [field])
    difference = np.abs(found.astype("f8") - field.astype("f8")).max()
    assert difference == storage.compression_error.absolute < 1e-3


@pytest.mark.parametrize("measure_error", [False, True])
@pytest.mark.parametrize(("dtype", "bits"), [("f2", 3), ("f4", 3), ("f4", 22), ("f8", 10)])
def test_rounding_keeps_its_bound_for_the_largest_numbers_too(dtype, bits, measure_error):
    largest = np.finfo(dtype).max
    field = np.resize(np.array([largest, -largest, largest / 2, 1, 0], dtype), 4096)
    (found,), _ = saved_and_loaded(rounded(bits, measure_error=measure_error), [field])
    error = np.abs(found.astype("g") - field.astype("g"))
    assert (error <= np.abs(field.astype("g")) * 2.0 ** -(bits + 1)).all()


def test_snapshots_that_did_not_fit_do_not_count(kind):
    """Neither their bytes nor their errors, however often it was tried."""
    zeros, noise = np.zeros(1 << 12), np.random.default_rng(0).normal(size=1 << 12)
    options = {"directory": None} if kind is DiskStorage else {}
    with kind(None, [zeros], room=50_000, compression=rounded(50), **options) as storage:
        storage.save(0, [noise], 0)
        before = storage.compressed
        for _ in range(3):
            with pytest.raises(StorageFullError):
                storage.save(1, [1e6 * noise], 1)
        assert storage.compressed == before
        assert before.given_bytes == noise.nbytes
        storage.save(2, [zeros], 2)
        assert storage.compressed.given_bytes == 2 * noise.nbytes
        assert storage.compression_ratio == pytest.approx(
            2 * noise.nbytes / (storage.stored_nbytes(0) + storage.stored_nbytes(2)),
            rel=0.01 if kind is MemoryStorage else 0.3,  # whole blocks
        )


@pytest.mark.parametrize("codec", ["Blosc", "Zstd", "LZ4", "Zlib", "GZip", "BZ2", "LZMA"])
def test_codecs_of_numcodecs_are_known_to_be_exact(codec, kind):
    arrays = [smooth((20, 30)), random_bytes(77, "i4,f8"), np.zeros((), "f8")]
    targets, storage = saved_and_loaded(getattr(numcodecs, codec)(), arrays, kind)
    assert_equal_bytes(targets, arrays)
    assert not storage.compression_error.measured


def test_codec_that_makes_nothing_smaller_changes_nothing():
    """Its output is not kept, and so its error does not matter."""
    field = smooth((20, 30))
    (found,), storage = saved_and_loaded(numcodecs.BitRound(3), [field])
    assert found.tobytes() == field.tobytes()
    assert storage.compression_error == CompressionLoss(0.0, 0.0, True)
    assert storage.compression_ratio == 1.0


@pytest.mark.parametrize(
    "error", [RuntimeError, ValueError, BufferError, TypeError, OSError, KeyboardInterrupt, MemoryError]
)
def test_codec_that_fails_leaves_the_storage_as_it_was(kind, error, monkeypatch):
    """It is a StorageError with slot and timestep, unless it is not the codec's fault."""
    monkeypatch.setattr(compression, "PIECE_BYTES", 1000)

    class Failing(TruncatingCodec):
        calls = math.inf

        def encode(self, buf):
            self.count()
            return super().encode(buf)

        def decode(self, buf, out=None):
            self.count()
            super().decode(buf, out)

        def count(self):
            self.calls -= 1
            if self.calls < 0:
                raise error("the codec has failed")

    codec = Failing()
    arrays = [np.zeros((20, 100)), np.zeros(30), np.zeros(700)]
    expected = error if error in (KeyboardInterrupt, MemoryError) else StorageError
    with kind(None, arrays, room=1 << 16, compression=Compression(codec=codec, lossless=True)) as storage:
        storage.save(3, arrays, 7)
        before = storage.bytes_left, storage.timesteps
        for _ in range(5):  # more often than there are buffers
            for calls in range(24):
                codec.calls = calls
                with pytest.raises(expected, match="the codec has failed") as saving:
                    storage.save(0, arrays, 8)
                assert (storage.bytes_left, storage.timesteps) == before
                with pytest.raises(expected, match="the codec has failed") as loading:
                    storage.load(3, arrays, 7)
                if expected is StorageError:
                    assert isinstance(saving.value.__cause__, OSError)
                    assert (saving.value.slot, saving.value.timestep) == (0, 8)
                    assert (loading.value.slot, loading.value.timestep) == (3, 7)
        codec.calls = math.inf
        storage.save(0, arrays, 8)
        storage.load(3, arrays, 7)
        storage.load(0, arrays, 8)


def test_codec_that_does_not_fill_what_it_is_given_is_refused():
    """Else a state would keep what was in it before, and nobody would notice."""

    class Returns(TruncatingCodec):
        def decode(self, buf, out=None):
            return np.zeros_like(out)

    field = np.zeros(100)
    with MemoryStorage(1, [field], compression=Compression(codec=Returns(), lossless=True)) as storage:
        storage.save(0, [field], 0)
        with pytest.raises(StorageError, match="must fill `out`"):
            storage.load(0, [np.ones(100)], 0)


def test_codec_may_return_any_buffer():
    class Odd(TruncatingCodec):
        def __init__(self, make):
            self.encode = lambda buf: make(buf.nbytes)

    for make in (lambda n: bytearray(n // 2), lambda n: np.zeros((2, n // 16), "f4"), lambda n: b""):
        (found,), _ = saved_and_loaded(Compression(codec=Odd(make), lossless=True), [np.zeros((8, 64))])
        assert not found.any()


# --- arguments


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: lossless("lz5"), ValueError),
        (lambda: lossless("zstd", 10), ValueError),
        (lambda: lossless("lz4", -1), ValueError),
        (lambda: lossless("pcodec", 13), ValueError),
        (lambda: lossless("lz4", 2.5), TypeError),
        (lambda: rounded(0), ValueError),
        (lambda: rounded(53), ValueError),
        (lambda: rounded(7.5), TypeError),
        (lambda: rounded("7"), TypeError),
        (lambda: zfp(), ValueError),
        (lambda: zfp(tolerance=1e-3, precision=3), ValueError),
        (lambda: zfp(tolerance=0.0), ValueError),
        (lambda: zfp(tolerance=-1.0), ValueError),
        (lambda: zfp(tolerance=math.inf), ValueError),
        (lambda: zfp(tolerance=math.nan), ValueError),
        (lambda: zfp(precision=0), ValueError),
        (lambda: zfp(precision=65), ValueError),
        (lambda: zfp(precision=2.5), TypeError),
        (lambda: as_compression("gzip"), ValueError),
        (lambda: as_compression(""), ValueError),
        (lambda: as_compression(3), TypeError),
        (lambda: as_compression(True), TypeError),
        (lambda: as_compression(object()), TypeError),
        (lambda: as_compression(numcodecs.Zlib), TypeError),
        (lambda: Compression(codec=None, lossless=True), TypeError),
        (lambda: Compression(codec=Mine(), lossless=True, other="zstd"), TypeError),
        (lambda: MemoryStorage(1, [np.zeros(3)], compression="lz5"), ValueError),
        (lambda: MemoryStorage(1, [np.zeros(3)], compression=7), TypeError),
    ],
)
def test_bad_arguments(make, error):
    with pytest.raises(error):
        make()


def test_bad_compression_leaves_no_file(tmp_path):
    for bad, error in (("lz5", ValueError), (7, TypeError)):
        with pytest.raises(error):
            DiskStorage(1, [np.zeros(3)], directory=tmp_path, compression=bad)
    assert not list(tmp_path.iterdir())


def test_what_was_made_is_taken_as_it_is():
    made = rounded(3)
    assert as_compression(made) is made
    assert str(as_compression("lz4")) == "lz4"
    assert as_compression("zstd").lossless
    assert not as_compression(numcodecs.BitRound(3)).lossless


@pytest.mark.parametrize(
    ("missing", "make", "extra"),
    [
        ("numcodecs", lambda: lossless("lz4"), "pyrevolve[compression]"),
        ("numcodecs", lambda: lossless("pcodec"), "pyrevolve[compression]"),
        ("numcodecs.pcodec", lambda: lossless("pcodec"), "pyrevolve[compression]"),
        ("numcodecs", lambda: rounded(7), "pyrevolve[compression]"),
        ("numcodecs", lambda: MemoryStorage(1, [np.zeros(3)], compression="zstd"), "pyrevolve[compression]"),
        ("zfpy", lambda: zfp(precision=9), "pyrevolve[zfp]"),
        ("numcodecs", lambda: zfp(precision=9), "pyrevolve["),
        ("xxhash", lambda: MemoryStorage(1, [np.zeros(3)], checksum="xxh3"), "pyrevolve[disk]"),
    ],
)
def test_package_that_is_missing_is_named_with_its_extra(missing, make, extra, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError) as caught:
        make()
    assert extra in str(caught.value)


def test_checksum_of_the_standard_library_does_without_xxhash(monkeypatch):
    monkeypatch.setitem(sys.modules, "xxhash", None)
    with MemoryStorage(1, [np.zeros(3)], checksum=True) as storage:
        assert storage.checksum == "crc32"
        storage.save(0, [np.ones(3)], 0)
        storage.load(0, [np.zeros(3)], 0)


@settings(max_examples=20)
@given(given_checksum=st.sampled_from(["md5", "", None, 2, 0.5, "XXH3"]))
def test_bad_checksum(given_checksum):
    with pytest.raises(ValueError, match="checksum"):
        MemoryStorage(1, [np.zeros(3)], checksum=given_checksum)
