"""Whatever reads files in the judged processes: sgdb's own parser, and three that are often taken for safe.

A weak reader takes the parser's place inside sgdb (same constructor, `batches` and `tree`), so that all
else, the layouts and the checks of every value, is the product's own. It is given every advantage: errors of
`pickle` become sgdb's, the old system's classes are there to be found.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import sgdb.pickles.legacy
from sgdb.errors import DamagedPickleError, UnsafePickleError
from sgdb.pickles.checkpoints import CheckpointFile, is_checkpoint
from sgdb.pickles.files import FileSource
from sgdb.pickles.inert import ClassRef, Instance, RowBatch
from sgdb.pickles.legacy import Games, LegacyFile
from sgdb.pickles.parser import PickleParser, SharedReferenceError
from sgdb.pickles.window import ByteStream
from tests.hostile.calls import EXTENSION
from tests.legacy import CONFIG_MODULE, Record, importable


def read_all(path: Path) -> dict[str, Any]:
    """Everything that is in a file, the way `migrate-pickles` goes over it."""
    if is_checkpoint(FileSource(path)):
        checkpoint = CheckpointFile.read(FileSource(path))
        return {"checkpoint": checkpoint.checkpoint, "notes": checkpoint.notes}
    file = LegacyFile.read(FileSource(path))
    games: list[Any] = []
    results: dict[str, list[Any]] = {}
    for part in file.rows():
        if isinstance(part, Games):
            games += part.rows
        else:
            results.setdefault(part.key, []).extend(part.rows)
    for batch in file.regenerated_batches():
        games += batch
    return {"contents": file.contents, "games": games, "results": results, "notes": file.notes}


class _Plain(pickle.Unpickler):
    """`pickle.load`."""


class _ByPrefix(pickle.Unpickler):
    """An allow-list of modules by how they begin, with what people put on such lists."""

    def find_class(self, module: str, name: str) -> Any:
        if not module.startswith(("samegamerl", "builtins", "collections", "copyreg", "_codecs", "numpy")):
            raise pickle.UnpicklingError(f"unknown class '{module}.{name}'")
        return super().find_class(module, name)


class _Exact(pickle.Unpickler):
    """An allow-list of exactly the classes that sgdb knows."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in sgdb.pickles.legacy.CLASSES:
            raise pickle.UnpicklingError(f"unknown class '{module}.{name}'")
        return super().find_class(module, name)


class _WeakParser:
    """An unpickler in the place of sgdb's parser."""

    unpickler: type[pickle.Unpickler]

    def __init__(
        self, stream: ByteStream, classes: Mapping[tuple[str, str], bool], *, remember: bool = False
    ) -> None:
        self.tree: Any = None
        self.protocol = 4
        self._stream = stream
        self._classes = {key: ClassRef(*key, is_row) for key, is_row in classes.items()}
        self._remember = remember
        self._seen: dict[int, Any] = {}

    def batches(self) -> Iterator[RowBatch]:
        """Nothing: the rows are in the tree, as in the parser's own second way of reading."""
        if not self._remember:
            raise SharedReferenceError
        raw = b"".join(iter(lambda: self._stream.read(1 << 20), b""))
        try:
            value = self.unpickler(io.BytesIO(raw)).load()
        except pickle.UnpicklingError as error:
            raise UnsafePickleError(str(error)) from error
        except MemoryError:
            raise
        except Exception as error:
            raise DamagedPickleError(f"{type(error).__name__}: {error}") from error
        self.tree = self._inert(value, 0)
        return iter(())

    def _inert(self, value: Any, depth: int) -> Any:
        """Objects as the records that sgdb's layouts know; what is too deep for a benchmark as it is."""
        if id(value) in self._seen or depth > 50:
            return self._seen.get(id(value), value)
        made: Any
        if isinstance(value, Record):
            cls = self._classes[type(value).__module__, type(value).__name__]
            made = Instance(cls, self._inert(vars(value), depth + 1))
        elif type(value) in (list, tuple):
            made = type(value)(self._inert(item, depth + 1) for item in value)
        elif type(value) is dict:
            made = {key: self._inert(item, depth + 1) for key, item in value.items()}
        else:
            return value
        self._seen[id(value)] = made
        return made


def _weak(unpickler: type[pickle.Unpickler]) -> type[_WeakParser]:
    return type(f"Weak{unpickler.__name__}", (_WeakParser,), {"unpickler": unpickler})


READERS: dict[str, Any] = {
    "sgdb": PickleParser,
    "plain": _weak(_Plain),
    "prefix": _weak(_ByPrefix),
    "exact": _weak(_Exact),
}


_FOR_GOOD = importable()


def install(reader: str) -> None:
    """Makes this process one in which sgdb reads with that reader.

    In every such process the old system can be imported, its modules import others as modules do, and some
    library has registered an extension code, which has been used before: `pickle` knows it by heart.
    """
    _FOR_GOOD.__enter__()
    sys.modules[CONFIG_MODULE].os = os  # type: ignore[attr-defined]
    copyreg.add_extension("os", "mkdir", EXTENSION)
    assert pickle.loads(b"\x80\x02\x82" + bytes((EXTENSION,)) + b".") is os.mkdir
    sgdb.pickles.legacy.PickleParser = READERS[reader]  # type: ignore[misc]
