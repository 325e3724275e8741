"""The command group, and helpers that its commands share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping
from functools import wraps
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import structlog
from pydantic import ValidationError

from ..domain.errors import OperatorError, OutOfReachError
from ..embedded_postgres.process import EmbeddedPostgresError
from ..observability import logs
from ..settings import DEFAULT_FILE, Settings, SettingsFileError, renamed_settings, sources_of, unknown_settings
from ..settings.problems import problems_of
from ..store.rejections import fix_of_sqlstate
from .terminal_text import TerminalConsole, echo, visible_errors

EXPECTED = (OperatorError, EmbeddedPostgresError, OSError, ValueError, TypeError)
DOCTOR, SERVE = "doctor", "serve"
CONFIG, SOURCES = "draftline.config", "draftline.sources"  # the settings file and the sources, in click's context
NO_SERVICE = "{message}\nIs the service running there? `draftline serve` starts it."
REJECTED = "the database rejects a statement: {message} (SQLSTATE {sqlstate}); {fix}"

EXIT_STATUS = """\b
Exit status:
  0  success
  1  failure, or a check found a problem
  2  the command line or a setting is invalid; nothing was done
  3  the service or the database cannot be reached; retry later
"""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")


def result_console() -> TerminalConsole:
    """Return a console for standard output, without markup.

    It is 1,000 columns wide if that is not a terminal.
    """
    console = TerminalConsole(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 1000
    return console


class NotReachedError(click.ClickException):
    """The service or the database is unreachable; the command may be retried."""

    exit_code = 3


class SettingsError(click.ClickException):
    """The settings cannot be used."""

    exit_code = 2


class _Commands(MutableMapping[str, click.Command]):
    """Commands by name. One that is given as `module:attribute` of this package is imported on first access."""

    def __init__(self) -> None:
        self._entries: dict[str, click.Command | str] = {}

    def add(self, locations: Mapping[str, str]) -> None:
        self._entries.update(locations)

    def __getitem__(self, name: str) -> click.Command:
        entry = self._entries[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            command: click.Command = getattr(import_module(f".{module}", __package__), attribute)
            self._entries[name] = entry = command
        return entry

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._entries[name] = command

    def __delitem__(self, name: str) -> None:
        del self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


class Sections(click.Group):
    """A group whose commands are added and listed by section, and are imported lazily.

    Importing the dependencies of `serve` takes a second, which other commands, and the list of commands, should not
    wait for.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = self._commands = _Commands()
        self.sections: dict[str, dict[str, str]] = {}

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with visible_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with visible_errors():
            return super().invoke(ctx)

    def add_section(self, title: str, commands: Mapping[str, tuple[str, str]]) -> None:
        """Add a section. `commands` maps the name of each command to its `module:attribute` and its help in a line."""
        self.sections[title] = {name: text for name, (_, text) in commands.items()}
        self._commands.add({name: location for name, (location, _) in commands.items()})

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        widest = max(map(len, self.commands))
        for title, texts in self.sections.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, text in texts.items()])


@click.group(
    cls=Sections, epilog=EXIT_STATUS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(package_name="draftline-server")
@click.option("--config", type=click.Path(path_type=Path), envvar="DRAFTLINE_CONFIG", show_envvar=True,
              help="The settings file. Default: draftline.toml in the working directory, if it exists.")  # fmt: skip
@click.pass_context
def main(context: click.Context, config: Path | None) -> None:
    """Draftline: atomic JSON patches, drafts and live merged reads over PostgreSQL.

    Settings come from environment variables that begin with DRAFTLINE_, and from draftline.toml; `draftline settings`
    lists them. Results go to standard output, as JSON with --json; progress, logs and errors go to standard error.
    """
    context.meta[CONFIG] = config if config or not DEFAULT_FILE.exists() else DEFAULT_FILE
    if context.invoked_subcommand == SERVE:  # it reads the settings with its flags
        return
    try:
        settings, context.meta[SOURCES] = Settings.from_sources({}, context.meta[CONFIG])
    except ValidationError as error:
        context.meta[SOURCES] = sources_of({}, context.meta[CONFIG])
        if context.invoked_subcommand == DOCTOR:  # it reports these along with other problems
            context.obj = error
            return
        raise settings_error(error, context.meta[SOURCES]) from None
    except SettingsFileError as error:
        raise SettingsError(str(error)) from None
    logs.configure(settings.log.format, settings.log.level)
    context.obj = settings
    if context.invoked_subcommand != DOCTOR:
        warn_of_names()


def settings_error(error: ValidationError, sources: Mapping[str, str]) -> SettingsError:
    problems = "".join(f"\n  {problem}" for problem in problems_of(error, sources))
    return SettingsError(f"invalid settings:{problems}")


def warn_of_names() -> None:
    for name, similar in unknown_settings().items():
        echo(f"Unknown setting {name}." + (f" Did you mean {similar}?" if similar else ""), err=True)
    for former, name in renamed_settings().items():
        structlog.get_logger().warning("setting_renamed", setting=former, hint=f"set {name}; 0.2 will ignore {former}")


def reporting(command: Callable[..., Any]) -> Callable[..., Any]:
    """Report the expected errors of a command on one line, without a stack trace."""

    @wraps(command)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        try:
            return command(*arguments, **options)
        except OutOfReachError as error:
            raise NotReachedError(f"{error}; {error.advice}") from error
        except EXPECTED as error:
            raise click.ClickException(str(error)) from error
        except Exception as error:
            problem = _problem_of_call(error) or _problem_of_statement(error)
            if problem is None:
                raise
            raise problem from error

    return wrapped


def _problem_of_call(error: Exception) -> click.ClickException | None:
    """Return the problem that an error of the client reports."""
    from draftline import DraftlineError, UnavailableError  # noqa: PLC0415  slow, and not needed to serve

    if isinstance(error, UnavailableError):  # with a reason, it is the service that answered
        return NotReachedError(str(error) if error.reason else NO_SERVICE.format(message=error))
    return click.ClickException(str(error)) if isinstance(error, DraftlineError) else None


def _problem_of_statement(error: Exception) -> click.ClickException | None:
    """Return the problem that an error of the driver reports, which is not imported here."""
    sqlstate = getattr(error, "sqlstate", None)
    if not sqlstate:
        return None
    message = str(error).partition("\n")[0]
    return click.ClickException(REJECTED.format(message=message, sqlstate=sqlstate, fix=fix_of_sqlstate(sqlstate)))
