"""Output of commands. It never contains a control character of a text that others have stored.

Commands print only through this module, which the linter ensures: click's own functions, print and rich's consoles
are banned elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import click
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from ..domain.visible_text import visible, visible_json


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text on standard output, or with `err` on standard error. `nl`: end the line."""
    click.echo(visible(text), err=err, nl=nl)


def echo_json(text: str) -> None:
    """Print a JSON text on standard output. The escapes of `echo` would not be JSON."""
    click.echo(visible_json(text))


def echo_result(result: object, text: str, *, as_json: bool) -> None:
    """Print a result as JSON in ASCII if `as_json`, and else the text that describes it."""
    if as_json:
        echo_json(json.dumps(result))
    else:
        echo(text)


def confirm(question: str) -> None:
    """Ask the question on standard error. Raise Abort unless the answer is yes."""
    click.confirm(visible(question), abort=True, err=True)


@contextmanager
def visible_errors() -> Iterator[None]:
    """Escape the message of a ClickException that leaves the block, because click prints it."""
    try:
        yield
    except click.ClickException as error:
        error.message = visible(error.message)  # type: ignore[misc]  # click formats it when it prints
        raise


class TerminalConsole(Console):
    """A console that prints the control characters of texts as escapes, so that no stored text controls a terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return the text to lay out, escaped, so that the layout is that of the escapes."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Yield the segments, escaped, also those of texts of rich, which do not pass through `render_str`.

        These are laid out before: a text of a column may be cropped to its width without the escapes.
        """
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=visible(segment.text))
