"""Every error sgdb raises on purpose. The exit code belongs to the class.

SgdbError
├── UsageError (2)            the call itself is wrong
│   ├── ConfigError           a setting is missing, unknown or malformed
│   ├── NotFoundError         a path, set or bot that was named does not exist
│   └── AlreadyExistsError    a file stands where one was to be written
├── EnvironmentFaultError (3) sgdb is fine, its surroundings are not
│   ├── DatabaseUnreachableError
│   ├── AuthenticationError
│   ├── DatabasePermissionError
│   ├── DatabaseMissingError
│   ├── SchemaError           not initialised, older or newer than this program
│   ├── ServerError           the embedded PostgreSQL does not start or stop
│   ├── UnsupportedServerError
│   ├── ClusterError          Ray is not installed, not reachable, or lost its workers
│   ├── MissingPackageError   a package that an extra of sgdb brings is not installed
│   ├── DiskFullError
│   └── FileAccessError
├── InputRefusedError (4)     what was handed in is not taken
│   ├── NotAPickleError
│   ├── DamagedPickleError
│   ├── UnsafePickleError
│   ├── LayoutError           a sound pickle, but no benchmark layout
│   ├── ValueRefusedError     a value that cannot be stored faithfully
│   ├── ConflictError         the database holds another value
│   ├── ArchiveError          a stored original is damaged
│   ├── IncompleteSetError    the database lacks rows that a set's files brought
│   ├── CheckpointError       bytes of a checkpoint are gone or not those that were stored
│   ├── BackupError           a backup is damaged, incomplete, or none
│   ├── ExportedFolderError   a folder to be imported is damaged, incomplete, or none
│   ├── DependentRowsError    what is to be taken back is still needed by something else
│   ├── LastCopyError         taking it back would destroy the last copy of a file
│   ├── MismatchError         two storages of one benchmark set hold different values
│   └── BotError              a bot that is not ours answers with no move
├── BusyError (5)             another command holds the lock
└── InternalError (70)        a bug in sgdb
"""

from __future__ import annotations

from typing import ClassVar


class SgdbError(Exception):
    """Base of all errors that sgdb raises on purpose.

    `message` says what failed; `hint` is the next thing to do, a command where there is one.
    Neither ever contains a password.
    """

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(SgdbError):
    """The call itself is wrong: an option, an argument or a setting."""

    exit_code = 2


class ConfigError(UsageError):
    """A setting is missing, unknown or malformed; the message names it and where it came from."""


class NotFoundError(UsageError):
    """A path, benchmark set or bot that was named does not exist."""


class AlreadyExistsError(UsageError):
    """A file stands where one was to be written, and overwriting was not asked for."""


class EnvironmentFaultError(SgdbError):
    """The surroundings are at fault: database, permissions, disk."""

    exit_code = 3


class DatabaseUnreachableError(EnvironmentFaultError):
    """No connection: refused, timed out, unknown host, or lost in the middle."""


class AuthenticationError(EnvironmentFaultError):
    """The server does not accept this user and password."""


class DatabasePermissionError(EnvironmentFaultError):
    """The server knows the user, but does not allow what was tried."""


class DatabaseMissingError(EnvironmentFaultError):
    """The server is there, the database is not."""


class SchemaError(EnvironmentFaultError):
    """The database's schema is absent, older or newer than this program needs."""


class ServerError(EnvironmentFaultError):
    """The embedded PostgreSQL cannot be set up, started or stopped."""


class UnsupportedServerError(EnvironmentFaultError):
    """The server's version or encoding is not one that sgdb supports."""


class ClusterError(EnvironmentFaultError):
    """Ray is not installed, its cluster cannot be reached, or has no worker left."""


class MissingPackageError(EnvironmentFaultError):
    """A package that an extra of sgdb brings is not installed; the message names the extra."""


class DiskFullError(EnvironmentFaultError):
    """No room left, here or on the database server."""


class FileAccessError(EnvironmentFaultError):
    """The operating system refuses to read or write a file."""


class InputRefusedError(SgdbError):
    """What was handed in is not taken; the message says what and where."""

    exit_code = 4


class NotAPickleError(InputRefusedError):
    """The file's content is something else than a pickle; the message says what, where known."""


class DamagedPickleError(InputRefusedError):
    """The bytes are not one whole pickle: truncated, trailing bytes, impossible lengths."""


class UnsafePickleError(InputRefusedError):
    """The pickle asks for something that benchmark files never need, with the byte offset."""


class LayoutError(InputRefusedError):
    """A sound pickle that is none of the known benchmark layouts."""


class ValueRefusedError(InputRefusedError):
    """A value that cannot be stored faithfully; the message names game, bot, field and value."""


class ConflictError(InputRefusedError):
    """The database already holds another value; nothing is overwritten."""


class ArchiveError(InputRefusedError):
    """A stored original does not match its recorded size or SHA-256."""


class IncompleteSetError(InputRefusedError):
    """The database lacks rows that a set's files brought, so the set cannot be given back whole."""


class CheckpointError(InputRefusedError):
    """The bytes of a checkpoint are gone, or are not those that were stored."""


class BackupError(InputRefusedError):
    """A backup is damaged, incomplete, does not belong together, or is none."""


class ExportedFolderError(InputRefusedError):
    """A folder of exported tables is damaged, incomplete, from a later sgdb, or none."""


class DependentRowsError(InputRefusedError):
    """What is to be taken back is still needed by what came from elsewhere; the message names it."""


class LastCopyError(InputRefusedError):
    """Taking it back would destroy the last copy of a file; the message names the files."""


class MismatchError(InputRefusedError):
    """Two storages of one benchmark set hold different values; the message names the first."""


class BotError(InputRefusedError):
    """A bot that is not built in does not play by the rules; the message names it and its answer."""


class BusyError(SgdbError):
    """Another command holds the lock that this one needs."""

    exit_code = 5


class InternalError(SgdbError):
    """A bug in sgdb, or a database answer that sgdb does not understand."""

    exit_code = 70
