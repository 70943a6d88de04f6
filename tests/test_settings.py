"""Which layer wins, what is refused and in which words, and that no password gets out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sgdb.errors import ConfigError
from sgdb.settings import ServerAddress, Settings, load_settings

ROOT = Path(__file__).resolve().parents[1]


def write(name: str, content: str) -> None:
    Path(name).write_text(content, "utf-8")


def test_defaults() -> None:
    """With nothing given, the embedded server in the user's data folder."""
    settings = load_settings()
    assert settings.server_address is None
    assert settings.home.is_relative_to(Path.home())
    assert (settings.connect_timeout, settings.lock_timeout) == (5, 600)
    assert settings.pickle_dir is None
    assert settings.warnings == ()


def test_each_layer_wins_over_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """Command line, environment, .env, the chosen environment of sgdb.toml, its top level."""
    write("sgdb.toml", "connect_timeout = 11\n[environments.test]\nconnect_timeout = 12\n")
    assert load_settings().connect_timeout == 11
    assert load_settings({"env": "test"}).connect_timeout == 12
    write(".env", "SGDB_CONNECT_TIMEOUT=13\nSGDB_ENV=test\n")
    assert load_settings().connect_timeout == 13
    monkeypatch.setenv("SGDB_CONNECT_TIMEOUT", "14")
    assert load_settings().connect_timeout == 14
    assert load_settings({"connect_timeout": 15}).connect_timeout == 15
    assert load_settings({"connect_timeout": None}).connect_timeout == 14


def test_an_empty_variable_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    """`SGDB_PORT= sgdb status` unsets it."""
    monkeypatch.setenv("SGDB_PORT", "")
    write(".env", "SGDB_HOST=\n")
    assert load_settings().server_address is None


def test_fields_merge_across_layers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts of an address may stand in different places."""
    write("sgdb.toml", 'host = "db.example"\nport = 5433\nusername = "ann"\n')
    write(".env", "SGDB_PASSWORD=hush\n")
    monkeypatch.setenv("SGDB_DATABASE", "games")
    address = load_settings({"username": "bob"}).server_address
    assert address == ServerAddress(None, "db.example", 5433, "games", "bob", "hush")


@pytest.mark.parametrize(
    ("toml", "variables", "expected"),
    [
        ('database_url = "postgresql://toml/x"', {"SGDB_HOST": "env"}, ServerAddress(host="env")),
        ('host = "toml"', {"SGDB_DATABASE_URL": "postgresql://env/x"}, ServerAddress("postgresql://env/x")),
        (
            "",
            {"SGDB_HOST": "env", "SGDB_DATABASE_URL": "postgresql://env/x"},
            ServerAddress("postgresql://env/x"),
        ),
        (
            'database_url = "postgresql://top/x"\nenv = "test"\n[environments.test]\nhost = "inner"',
            {},
            ServerAddress(host="inner"),
        ),
    ],
)
def test_a_url_and_parts_replace_each_other(
    monkeypatch: pytest.MonkeyPatch, toml: str, variables: dict[str, str], expected: ServerAddress
) -> None:
    """The form in the higher layer wins as a whole; in one layer the URL."""
    write("sgdb.toml", toml)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert load_settings().server_address == expected


def test_a_password_from_anywhere_completes_a_url(monkeypatch: pytest.MonkeyPatch) -> None:
    """So the URL can stand in a file that everybody reads."""
    write("sgdb.toml", 'database_url = "postgresql://ann@db/games"\n')
    monkeypatch.setenv("SGDB_PASSWORD", "hush")
    assert load_settings().server_address == ServerAddress("postgresql://ann@db/games", password="hush")


def test_no_representation_shows_a_password(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the settings nor the address they make."""
    monkeypatch.setenv("SGDB_DATABASE_URL", "postgresql://ann:hush@db/games")
    monkeypatch.setenv("SGDB_PASSWORD", "hush")
    settings = load_settings()
    for shown in (repr(settings), str(settings), repr(settings.server_address), settings.model_dump_json()):
        assert "hush" not in shown


def test_revealed_settings_make_the_same_ones(tmp_path: Path) -> None:
    """For a process of ours: through JSON, with the passwords."""
    for given in (
        {"database_url": "postgresql://ann:hush@db.example/games", "home": tmp_path, "env": None},
        {"host": "db.example", "password": "hush", "lock_timeout": 2.5, "pickle_dir": tmp_path},
        {},
    ):
        settings = load_settings(given)
        assert Settings(**json.loads(json.dumps(settings.revealed()))) == settings


def test_a_password_without_a_server_is_told() -> None:
    """The embedded server has no use for it, which somebody may not expect."""
    (warning,) = load_settings({"password": "hush"}).warnings
    assert "password" in warning
    assert "hush" not in warning


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """In sgdb.toml relative to that file, elsewhere to the current folder; ~ is home."""
    project = tmp_path / "project"
    project.mkdir()
    write("project/sgdb.toml", 'home = "data"\npickle_dir = "~/pickles"\n')
    settings = load_settings(folder=Path("project"))
    assert settings.home == project / "data"
    assert settings.pickle_dir == Path.home() / "pickles"
    monkeypatch.setenv("SGDB_HOME", "data")
    assert load_settings(folder=project).home == tmp_path / "data"


def test_the_environment_table_may_be_chosen_in_the_file() -> None:
    """`env` at the top of sgdb.toml is the project's default, any other layer overrides it."""
    write("sgdb.toml", 'env = "one"\n[environments.one]\nport = 1\n[environments.two]\nport = 2\n')
    assert load_settings().port == 1
    assert load_settings({"env": "two"}).port == 2


@pytest.mark.parametrize(
    ("toml", "words"),
    [
        ('databse = "x"', ["'databse'", "sgdb.toml", "did you mean database?"]),
        ("[environments.test]\nhots = 'x'", ["'hots'", "[environments.test]", "did you mean host?"]),
        ("[environments.test]\nenv = 'x'", ["'env'", "[environments.test]"]),
        ("environments = 3", ["environments", "table"]),
        ("[environments]\ntest = 3", ["environments", "table"]),
        ("env = 'tset'\n[environments.test]\n", ["'tset'", "sgdb.toml", "did you mean test?"]),
        ("port = \nhost = 'x'", ["sgdb.toml", "TOML", "line 1"]),
        ("port = 0", ["port", "sgdb.toml", "0"]),
        ("lock_timeout = inf", ["lock_timeout", "inf"]),
        ("home = 3", ["home", "3"]),
        ("home = '~nobody-by-that-name/x'", ["~"]),
    ],
)
def test_a_wrong_file_is_refused(toml: str, words: list[str]) -> None:
    """The message names key, file and a near match, and there is a hint."""
    write("sgdb.toml", toml)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    for word in words:
        assert word in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["sgdb.toml", ".env"])
def test_bytes_that_are_no_text_are_refused(name: str) -> None:
    """The file is named."""
    Path(name).write_bytes(b"SGDB_HOST='\xff'")
    with pytest.raises(ConfigError, match=f"{re.escape(name)} cannot be read: it is not UTF-8"):
        load_settings()


def test_folders_in_the_place_of_the_files() -> None:
    """`.env` is a common name of virtual environments, so such a folder is passed over; sgdb.toml is ours."""
    Path(".env").mkdir()
    assert load_settings().warnings == ()
    Path("sgdb.toml").mkdir()
    with pytest.raises(ConfigError, match=r"sgdb\.toml cannot be read"):
        load_settings()


def test_a_wrong_value_is_named_with_its_variable_and_layer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user sees which of the many places to correct."""
    write(".env", "SGDB_PORT=fast\n")
    with pytest.raises(ConfigError, match=r"SGDB_PORT in .*\.env: 'fast'"):
        load_settings()
    monkeypatch.setenv("SGDB_PORT", "99999")
    with pytest.raises(ConfigError, match="SGDB_PORT in the environment: '99999'"):
        load_settings()
    with pytest.raises(ConfigError, match="port in the command line: 'x'"):
        load_settings({"port": "x"})


def test_a_wrong_secret_is_not_quoted() -> None:
    """Nor left in the chain of causes, which --debug prints."""
    write("sgdb.toml", "password = 271828\n")
    with pytest.raises(ConfigError, match="password in") as caught:
        load_settings()
    assert "271828" not in caught.value.message
    assert caught.value.__suppress_context__


def test_an_unknown_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also without any sgdb.toml: falling back to another database in silence could cost data."""
    monkeypatch.setenv("SGDB_ENV", "production")
    with pytest.raises(
        ConfigError, match="SGDB_ENV in the environment asks for the environment 'production'"
    ):
        load_settings()


def test_an_unknown_override_is_refused() -> None:
    """The command line knows the settings by name, too."""
    with pytest.raises(ConfigError, match="did you mean username"):
        load_settings({"user_name": "ann"})


def test_unknown_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each with its place and a near match; those of the test suite are known."""
    monkeypatch.setenv("SGDB_DATABASE_ULR", "x")
    monkeypatch.setenv("SGDB_TEST_DATABASE_URL", "x")
    write(".env", "SGDB_HOMME=x\nOTHER=y\n")
    first, second = load_settings().warnings
    assert "SGDB_DATABASE_ULR in the environment" in first
    assert "did you mean SGDB_DATABASE_URL?" in first
    assert "SGDB_HOMME in " in second
    assert ".env" in second


def test_variables_of_other_programs_are_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """HOST and PORT without the prefix belong to somebody else's web server."""
    write(".env", "HOST=0.0.0.0\nPORT=8000\n")
    monkeypatch.setenv("USERNAME", "ann")
    assert load_settings().server_address is None


def test_settings_do_not_change() -> None:
    """They can be handed on without a copy."""
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1  # type: ignore[misc]


def test_the_example_lists_every_variable() -> None:
    """.env.example has each setting, with a comment above, and nothing else."""
    lines = (ROOT / ".env.example").read_text("utf-8").splitlines()
    names = []
    for before, line in zip(["", *lines], lines, strict=False):
        if match := re.fullmatch(r"#?(SGDB_\w+)=.*", line):
            names.append(match[1])
            assert before.startswith("# "), f"{match[1]} has no comment"
    assert sorted(names) == sorted(f"SGDB_{name.upper()}" for name in Settings.model_fields)


def test_the_settings_load_without_the_database_library() -> None:
    """`sgdb --help` reads settings and must stay quick."""
    code = "import sys, sgdb.settings; assert not {'sqlalchemy', 'psycopg2', 'alembic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


def test_a_line_of_dotenv_that_says_nothing_is_refused(tmp_path: Path) -> None:
    """Passed over, it could be the one with the server's address."""
    (tmp_path / ".env").write_text("SGDB_PORT=5433\nSGDB_HOST 10.0.0.1\n")
    with pytest.raises(ConfigError, match="line 2"):
        load_settings(folder=tmp_path)


def test_a_home_on_the_command_line_selects_the_embedded_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever server the environment names, unless the command line names one itself."""
    monkeypatch.setenv("SGDB_DATABASE_URL", "postgresql://db.example.org/x")
    monkeypatch.setenv("SGDB_HOST", "db.example.org")
    assert load_settings({"home": tmp_path}, folder=tmp_path).server_address is None
    both = {"home": tmp_path, "database_url": "postgresql://other/x"}
    assert load_settings(both, folder=tmp_path).server_address is not None
    assert load_settings(folder=tmp_path).server_address is not None
