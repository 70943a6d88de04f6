"""Opening the storage of a benchmark set."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sgdb.database.engine import address_of
from sgdb.errors import ConfigError, InputRefusedError, UsageError
from sgdb.pickles.files import FileSource
from sgdb.pickles.legacy import LegacyFile
from sgdb.records import GameConfig
from sgdb.settings import Settings, load_settings
from sgdb.storage.base import BenchmarkStorage
from sgdb.storage.breaker import breaker_of
from sgdb.storage.dual import DualStorage, Validation
from sgdb.storage.guarded import GuardedDatabase
from sgdb.storage.journal import Journal
from sgdb.storage.pickle_files import PickleStorage
from sgdb.storage.postgres import PostgresStorage
from sgdb.storage.values import checked_set

Kind = Literal["pickle", "database", "dual"]
# Seconds for which one side of a dual storage may keep a save waiting, before it is left to be made good.
_DUAL_LOCK_TIMEOUT = 30.0


def open_storage(
    kind: Kind | None = None,
    *,
    config: GameConfig,
    base_seed: int,
    path: Path | str | None = None,
    settings: Settings | None = None,
    primary: Literal["pickle", "database"] | None = None,
    validate: Validation | None = None,
    share: float | None = None,
) -> BenchmarkStorage:
    """The storage of one set. What is not given comes from the settings, and these from `load_settings`.

    `path` is the pickle; without it, it is looked for in the settings' pickle folder (see `find_pickle`).
    `primary`, `validate` and `share` are those of a DualStorage. Nothing is opened or connected yet.
    Raises UsageError, and ConfigError where neither a path nor a pickle folder is given.
    """
    settings = load_settings() if settings is None else settings
    config, base_seed = checked_set(config, base_seed)
    kind = settings.storage if kind is None else kind
    if kind == "database":
        return PostgresStorage(settings, config, base_seed)
    if kind not in ("pickle", "dual"):
        raise UsageError(f"there is no storage {kind!a}", hint="take pickle, database or dual")
    if path is None:
        if settings.pickle_dir is None:
            raise ConfigError(
                f"a {kind} storage needs a pickle, and none is named",
                hint="give a path, or set SGDB_PICKLE_DIR",
            )
        path = find_pickle(settings.pickle_dir, config, base_seed)
    if kind == "pickle":
        return PickleStorage(path, config, base_seed, lock_timeout=settings.lock_timeout)
    return dual_storage(
        settings,
        PickleStorage(path, config, base_seed, lock_timeout=_DUAL_LOCK_TIMEOUT),
        primary=settings.storage_primary if primary is None else primary,
        validate=settings.validate_storage if validate is None else validate,
        share=settings.validate_share if share is None else share,
    )


def dual_storage(
    settings: Settings,
    pickle: PickleStorage,
    *,
    primary: Literal["pickle", "database"],
    validate: Validation,
    share: float,
) -> DualStorage:
    """The dual storage of a pickle and the settings' database."""
    address = address_of(settings)
    database = GuardedDatabase(
        PostgresStorage(settings, pickle.config, pickle.base_seed, lock_timeout=_DUAL_LOCK_TIMEOUT),
        breaker_of(f"database {address}"),
        seconds=settings.connect_timeout,
    )
    if primary not in ("pickle", "database"):
        raise UsageError(f"the primary is pickle or database, not {primary!a}")
    sides = (pickle, database) if primary == "pickle" else (database, pickle)
    return DualStorage(
        *sides,
        pickle=pickle,
        journal=Journal(settings.journal_folder),
        address=address,
        validate=validate,
        share=share,
    )


def find_pickle(folder: Path, config: GameConfig, base_seed: int) -> Path:
    """Where a set's pickle is in `folder`, or would be.

    The old system has named them rows first and columns first, with and without an extension: of these names
    the first whose file holds the set. Without any it is the newest form, rows first, unless that name is
    taken by something else: then the base seed is followed by `.sgdb`.
    """
    rows, cols, colors = config.num_rows, config.num_cols, config.num_colors
    stems = [f"benchmark_{a}_{b}_{colors}_{base_seed}" for a, b in ((rows, cols), (cols, rows))]
    for name in dict.fromkeys(f"{stem}{ending}" for ending in (".pkl", "") for stem in stems):
        if _holds(folder / name, config, base_seed):
            return folder / name
    newest = folder / f"{stems[0]}.pkl"
    # Looked at once more: another process may have begun this very set meanwhile.
    is_taken = newest.exists() and not _holds(newest, config, base_seed)
    return folder / f"{stems[0]}.sgdb.pkl" if is_taken else newest


def _holds(path: Path, config: GameConfig, base_seed: int) -> bool:
    """Whether the file at `path` holds the set; a file that cannot be read may."""
    if not path.exists():
        return False
    try:
        found = LegacyFile.read(FileSource(path), base_seed=base_seed).contents
    except InputRefusedError:
        return True  # opening it says what is wrong with it: better than to begin anew beside it
    return (found.config, found.base_seed) == (config, base_seed)
