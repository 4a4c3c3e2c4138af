"""Results in a CSV file that a killed run leaves whole, so that the next one goes on."""

from __future__ import annotations

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType


class Results:
    """Rows of a CSV file, appended one by one.

    A row is one write to the end of the file, followed by fsync. Should a machine stop in the middle of one,
    the part without a line break at its end is cut off when the file is opened again.

    Parameters
    ----------
    path : Path
        The file; made with its folder where there is none.
    columns : sequence of str
        Its header.
    identity : sequence of str
        Columns that tell one measurement from another.
    constant : mapping of str to object
        Columns that must be the same in all rows: the machine, and versions. They are written by themselves.

    Raises
    ------
    ValueError
        The file has other columns, or rows from another machine or other versions.
    BlockingIOError
        Another process is writing to it.
    """

    def __init__(
        self,
        path: Path,
        columns: Sequence[str],
        identity: Sequence[str],
        constant: Mapping[str, object] | None = None,
    ) -> None:
        self.path = path
        self.identity = tuple(identity)
        self.constant = {name: str(value) for name, value in (constant or {}).items()}
        self.columns = (*columns, *self.constant)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            self._open()
        except BaseException:
            os.close(self._file)
            raise

    def _open(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BlockingIOError(
                error.errno,
                f"{self.path} is being written by another run; wait for it, or name another --csv",
            ) from None
        content = self.path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.ftruncate(self._file, len(whole))
        reader = csv.DictReader(io.StringIO(whole.decode(), newline=""))
        self.rows: list[dict[str, str]] = list(reader)
        if not whole:
            self._write([self.columns])
        elif tuple(reader.fieldnames or ()) != self.columns:
            raise ValueError(f"{self.path} has other columns; move it away, or name another --csv")
        for row in self.rows:
            for name, value in self.constant.items():
                if row[name] != value:
                    raise ValueError(
                        f"{self.path} has rows with {name} {row[name]!r}, but here it is {value!r}; times "
                        "of both do not compare: move the file away, or name another --csv"
                    )

    def find(self, given: Mapping[str, object]) -> dict[str, str] | None:
        """Return the row with the identity of `given`; None where it was not measured yet."""
        key = self._key(given)
        return next((row for row in self.rows if self._key(row) == key), None)

    def append(self, row: Mapping[str, object]) -> dict[str, str]:
        """Append a row; columns that it lacks stay empty.

        Raises
        ------
        ValueError
            It has a column that the file has not, or there is such a row already.
        """
        unknown = set(row) - set(self.columns)
        if unknown:
            raise ValueError(f"{self.path} has no columns {sorted(unknown)}")
        if self.find(row) is not None:
            raise ValueError(f"{self.path} has a row of {self._key(row)} already")
        text = {name: self.constant.get(name, _text(row.get(name))) for name in self.columns}
        self._write([list(text.values())])
        self.rows.append(text)
        return text

    def close(self) -> None:
        """Let other processes write to the file."""
        os.close(self._file)

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _key(self, row: Mapping[str, object]) -> tuple[str, ...]:
        return tuple(_text(row[name]) for name in self.identity)

    def _write(self, rows: Iterable[Sequence[str]]) -> None:
        lines = io.StringIO(newline="")
        csv.writer(lines, lineterminator="\n").writerows(rows)
        data = lines.getvalue().encode()
        written = os.write(self._file, data)
        if written != len(data):
            raise OSError(f"{self.path} took {written} of {len(data)} bytes; is the disk full?")
        os.fsync(self._file)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Return the rows of a file that may be written to meanwhile.

    Raises
    ------
    FileNotFoundError
        There is no such file.
    """
    content = path.read_bytes()
    whole = content[: content.rfind(b"\n") + 1].decode()
    return list(csv.DictReader(io.StringIO(whole, newline="")))


def fastest(rows: Iterable[Mapping[str, str]], identity: Sequence[str]) -> list[dict[str, str]]:
    """Return of the rows that are alike but for their round the fastest, in the order of the first of each.

    A machine that is shared has slow minutes; what was measured in one of them tells nothing.
    """
    alike = [name for name in identity if name != "round"]
    best: dict[tuple[str, ...], dict[str, str]] = {}
    for row in rows:
        key = tuple(row[name] for name in alike)
        known = best.get(key)
        if known is None or float(row["seconds"]) < float(known["seconds"]):
            best[key] = dict(row)
    return list(best.values())


def _text(value: object) -> str:
    return "" if value is None else str(value)
