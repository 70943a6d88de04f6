"""What sgdb is told from outside, and the only reader of the environment.

Higher layers win, field by field:

    command line > environment (SGDB_*) > .env > [environments.NAME] of sgdb.toml > sgdb.toml > defaults

One thing is not merged field by field: a server is given either as one URL or in parts (host, port,
database, username), and whichever stands in the higher layer replaces the other form altogether. In
the same layer the URL wins. A password may come from any layer and completes a URL that has none.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import platformdirs
from dotenv.parser import parse_stream
from pydantic import BeforeValidator, Field, PrivateAttr, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    DotEnvSettingsSource,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from sgdb.errors import ConfigError

PREFIX = "SGDB_"
SETTINGS_FILE = "sgdb.toml"
_PARTS = ("host", "port", "database", "username")
_SECRETS = ("database_url", "password")


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where an external server is: `url`, or else the parts. `password` completes either, where known."""

    url: str | None = field(default=None, repr=False)
    host: str = "localhost"
    port: int = 5432
    database: str = "sgdb"
    username: str | None = None
    password: str | None = field(default=None, repr=False)


def _absolute(value: object) -> object:
    return Path(value).expanduser().absolute() if isinstance(value, str | Path) else value


_AbsolutePath = Annotated[Path, BeforeValidator(_absolute)]


class Settings(BaseSettings):
    """The settings of one command, checked. Made by `load_settings`; immutable."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, extra="forbid", frozen=True, hide_input_in_errors=True
    )

    home: _AbsolutePath = Field(
        default_factory=lambda: platformdirs.user_data_path("sgdb"),
        description="folder of the embedded server, the backups, the checkpoints and the journal",
    )
    env: str | None = Field(default=None, description="the [environments.NAME] of sgdb.toml to use")
    database_url: SecretStr | None = Field(default=None, description="postgresql:// address of a server")
    host: str | None = Field(default=None, description="host name or socket folder of a server")
    port: int | None = Field(default=None, ge=1, le=65535, description="its port")
    database: str | None = Field(default=None, description="its database")
    username: str | None = Field(default=None, description="the user to connect as")
    password: SecretStr | None = Field(default=None, description="that user's password")
    connect_timeout: int = Field(default=5, ge=1, le=3600, description="seconds to wait for a connection")
    lock_timeout: float = Field(
        default=600, gt=0, le=604_800, description="seconds to wait for a lock that another command holds"
    )
    pickle_dir: _AbsolutePath | None = Field(default=None, description="folder of the pickle files")
    backup_dir: _AbsolutePath | None = Field(
        default=None, description="folder of the backups (default: backups in the home folder)"
    )
    storage: Literal["pickle", "database", "dual"] = Field(
        default="database", description="where programs store results: pickle, database or dual (both)"
    )
    storage_primary: Literal["pickle", "database"] = Field(
        default="database", description="what a dual storage reads: database or pickle"
    )
    validate_storage: Literal["off", "warn", "strict"] = Field(
        default="warn", description="what a dual storage does about differences: off, warn or strict"
    )
    validate_share: float = Field(
        default=1.0, ge=0, le=1, description="share of the rows that a dual storage compares, from 0 to 1"
    )
    cache_size: int = Field(
        default=256, ge=0, description="megabytes of whole sets that a program keeps in memory, 0 for none"
    )
    checkpoint_dir: _AbsolutePath | None = Field(
        default=None,
        description="folder of checkpoints that are too large for the database "
        "(default: checkpoints in the home folder)",
    )
    checkpoint_limit: int = Field(
        default=10_000_000,
        ge=0,
        le=200_000_000,
        description="bytes up to which a checkpoint's weights are kept in the database",
    )
    heartbeat: float = Field(
        default=30, gt=0, le=3600, description="seconds between two signs of life of a training"
    )

    _warnings: tuple[str, ...] = PrivateAttr(default=())

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was found and not used, one sentence each: a caller shows them to the user."""
        return self._warnings

    @property
    def backups_folder(self) -> Path:
        """Where backups are written and looked for unless a path is named."""
        return self.backup_dir or self.home / "backups"

    @property
    def checkpoints_folder(self) -> Path:
        """Where bytes of checkpoints lie that are too large for the database."""
        return self.checkpoint_dir or self.home / "checkpoints"

    @property
    def journal_folder(self) -> Path:
        """Where dual storages and trainings note what is still owed, and what was found to differ."""
        return self.home / "journal"

    @property
    def server_address(self) -> ServerAddress | None:
        """The server to use, or None for the embedded one."""
        password = self.password.get_secret_value() if self.password else None
        if self.database_url:
            return ServerAddress(url=self.database_url.get_secret_value(), password=password)
        parts = {name: value for name in _PARTS if (value := getattr(self, name)) is not None}
        return ServerAddress(**parts, password=password) if parts else None

    def revealed(self) -> dict[str, Any]:
        """The settings as plain JSON values, from which `Settings` makes the same ones. Passwords are in it:
        for the pipe to a process of our own, and nowhere else."""
        values = self.model_dump(mode="json", exclude_none=True)
        secrets = {name: getattr(self, name) for name in _SECRETS}
        return values | {name: secret.get_secret_value() for name, secret in secrets.items() if secret}

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Nothing but arguments: `load_settings` reads the layers itself, to know which one said what."""
        return (init_settings,)


@dataclass(frozen=True, slots=True)
class _Layer:
    """The settings that one place gives; `origin` is how a message calls that place."""

    origin: str
    values: Mapping[str, Any]
    prefix: str = ""

    def label(self, name: str) -> str:
        return f"{self.prefix}{name.upper()}" if self.prefix else name


def load_settings(overrides: Mapping[str, object] | None = None, *, folder: Path | None = None) -> Settings:
    """Reads all layers and returns the settings that hold.

    `overrides` are the command line's; a None in it means "not given". `.env` and `sgdb.toml` are looked
    for in `folder` (default: the current folder) and may be absent. A home on the command line selects the
    embedded server, whatever server the lower layers name. Relative paths in sgdb.toml are
    relative to that file, all others to the current folder; `~` is the user's home.

    Raises ConfigError naming the setting and where it stands: unknown key in sgdb.toml, unknown
    environment, malformed value or file, unreadable file. Unknown SGDB_* variables do not stop a command
    (another version may know them) but are told in `Settings.warnings`.
    """
    folder = Path.cwd() if folder is None else folder
    given = {name: value for name, value in (overrides or {}).items() if value is not None}
    _refuse_unknown(given, "the command line")
    environment = EnvSettingsSource(Settings)
    dotenv = _read_dotenv(folder / ".env")
    layers = [
        _Layer("the command line", given),
        _Layer("the environment", environment(), PREFIX),
    ]
    warnings = _unknown_variables(environment.env_vars, "the environment")
    if dotenv is not None:
        layers.append(_Layer(str(folder / ".env"), _known(dotenv()), PREFIX))
        warnings += _unknown_variables(dotenv.env_vars, str(folder / ".env"))
    layers += _toml_layers(folder / SETTINGS_FILE, layers)

    values, origins = _merge(layers)
    if "home" in given and "database_url" not in given:
        # Who names the embedded server's folder on the command line means that server.
        for name in ("database_url", *_PARTS):
            values.pop(name, None)
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise _config_error(error, values, origins) from None
    except RuntimeError as error:  # Path.expanduser does not know the user
        raise ConfigError(
            f"A path in the settings starts with ~ and has no home folder: {error}",
            hint="write the path in full",
        ) from error
    if settings.password and settings.server_address is None:
        layer = origins["password"]
        warnings.append(
            f"{layer.label('password')} in {layer.origin} is not used: no server address is given, "
            "and the embedded server needs no password."
        )
    settings._warnings = tuple(warnings)
    return settings


def _merge(layers: list[_Layer]) -> tuple[dict[str, Any], dict[str, _Layer]]:
    values: dict[str, Any] = {}
    origins: dict[str, _Layer] = {}
    for layer in layers:
        for name, value in layer.values.items():
            if name not in values:
                values[name] = value
                origins[name] = layer
    for layer in layers:
        if layer.values.get("database_url") is not None:
            losers: tuple[str, ...] = _PARTS
        elif any(layer.values.get(part) is not None for part in _PARTS):
            losers = ("database_url",)
        else:
            continue
        for name in losers:
            values.pop(name, None)
        break
    return values, origins


def _read_dotenv(path: Path) -> DotEnvSettingsSource | None:
    try:
        if path.is_file():
            _refuse_broken_lines(path)
            return DotEnvSettingsSource(Settings, env_file=path, env_file_encoding="utf-8")
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _refuse_broken_lines(path: Path) -> None:
    """A line that is passed over could be the one with the server's address."""
    with path.open(encoding="utf-8") as file:
        for binding in parse_stream(file):
            if binding.error:
                raise ConfigError(
                    f"{path}, line {binding.original.line}: this is no NAME=value",
                    hint="correct the line, or put a # before it",
                )


def _toml_layers(path: Path, above: list[_Layer]) -> list[_Layer]:
    """The chosen [environments.NAME] and the top level of sgdb.toml, highest first."""
    document: dict[str, Any] = {}
    try:
        document = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is no valid TOML: {error}", hint="correct the file") from error

    environments = document.pop("environments", {})
    if not isinstance(environments, dict) or not all(isinstance(v, dict) for v in environments.values()):
        raise ConfigError(
            f"'environments' in {path} must hold one table per environment",
            hint="write a heading such as [environments.test], with settings below it",
        )
    _refuse_unknown(document, str(path))
    layers = {
        name: _Layer(f"[environments.{name}] of {path}", _from_file(table, path))
        for name, table in environments.items()
    }
    for name, layer in layers.items():
        _refuse_unknown(environments[name], layer.origin, without=("env",))
    top = _Layer(str(path), _from_file(document, path))

    chooser = next((layer for layer in [*above, top] if layer.values.get("env") is not None), None)
    if chooser is None:
        return [top]
    chosen = str(chooser.values["env"])
    if chosen not in layers:
        known = ", ".join(sorted(layers)) or "none"
        raise ConfigError(
            f"{chooser.label('env')} in {chooser.origin} asks for the environment {chosen!r}, "
            f"which {path} does not have" + _near(chosen, layers),
            hint=f"choose one of the environments there ({known}) or add [environments.{chosen}]",
        )
    return [layers[chosen], top]


def _from_file(table: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """The table with its relative paths made relative to the file."""
    values = dict(table)
    for name in ("home", "pickle_dir", "backup_dir", "checkpoint_dir"):
        value = values.get(name)
        if isinstance(value, str) and not value.startswith("~"):
            values[name] = path.absolute().parent / value
    return values


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name in Settings.model_fields}


def _unknown_variables(variables: Mapping[str, Any], origin: str) -> list[str]:
    fields = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    unknown = [
        name
        for name in map(str.upper, variables)
        if name.startswith(PREFIX) and not name.startswith(f"{PREFIX}TEST_") and name not in fields
    ]
    return [f"{name} in {origin} is no setting of sgdb{_near(name, fields)}." for name in unknown]


def _refuse_unknown(values: Mapping[str, Any], origin: str, *, without: tuple[str, ...] = ()) -> None:
    fields = [name for name in Settings.model_fields if name not in without]
    for name in values:
        if name not in fields:
            raise ConfigError(
                f"{name!r} in {origin} is no setting of sgdb{_near(name, fields)}",
                hint=f"the settings are: {', '.join(fields)}",
            )


def _near(name: str, known: Iterable[str]) -> str:
    matches = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {matches[0]}?" if matches else ""


def _unreadable(path: Path, error: Exception) -> ConfigError:
    reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
    return ConfigError(f"{path} cannot be read: {reason}", hint="correct the file or its permissions")


def _config_error(
    error: ValidationError, values: Mapping[str, Any], origins: Mapping[str, _Layer]
) -> ConfigError:
    first = error.errors(include_url=False, include_context=False)[0]
    name = str(first["loc"][0])
    layer = origins[name]
    shown = "the value" if name in _SECRETS else repr(values[name])
    return ConfigError(
        f"{layer.label(name)} in {layer.origin}: {shown} is not accepted ({first['msg']})",
        hint=f"it is meant to be: {Settings.model_fields[name].description}",
    )


def separate_environment(home: Path) -> dict[str, str]:
    """This process's environment for a child that is to see no sgdb setting but this home."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("SGDB_")}
    return {**kept, "SGDB_HOME": str(home)}
