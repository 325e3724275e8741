"""The building blocks of the demo: its steps and its films."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from draftline import Client, DraftlineError

from ..ops.resources import shipped
from ..record_files.readers import Format, IdRule, identified, read

Run = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Step:
    """One call: `run` makes it, and is expected to raise `refusal` if that is set.

    The parameters of `run` name its clients: `client`, or `ada` and `bob`, two users of one tenant.
    """

    rpc: str
    run: Run
    refusal: type[DraftlineError] | None = None
    by: str = ""  # the client method, if its name differs from the rpc's

    @property
    def title(self) -> str:
        return inspect.getdoc(self.run) or ""

    @property
    def method(self) -> str:
        return self.by or re.sub(r"(?<!^)(?=[A-Z])", "_", self.rpc).lower()

    @property
    def code(self) -> str:
        """The body of the function, without its docstring and its `return`."""
        lines = textwrap.dedent(inspect.getsource(self.run)).splitlines()
        start = next(number for number, line in enumerate(lines) if line.lstrip().startswith('"""')) + 1
        return textwrap.dedent("\n".join(lines[start:])).replace("return ", "", 1)

    def outcome(self, clients: Mapping[str, Client]) -> Any:
        """Run the step. Return the result of the call or, if a refusal is expected, its error."""
        named = {name: clients[name] for name in inspect.signature(self.run).parameters}
        if self.refusal is None:
            return self.run(**named)
        try:
            self.run(**named)
        except self.refusal as error:
            return error
        raise AssertionError(f"{self.rpc} was not refused with {self.refusal.__name__}: {self.title}")


def appending_to(steps: list[Step]) -> Callable[..., Callable[[Run], Run]]:
    """Return a decorator that appends the function as a step to `steps`."""

    def step(rpc: str, refusal: type[DraftlineError] | None = None, by: str = "") -> Callable[[Run], Run]:
        def append(run: Run) -> Run:
            steps.append(Step(rpc, run, refusal, by))
            return run

        return append

    return step


def films() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the films of the project's examples, with ids made from title and release date."""
    with (shipped("examples") / "movies.json").open("rb") as file:
        for film in identified(read(file, Format.JSON), IdRule(made_from=("Title", "Release Date"))):
            yield film.record_id, dict(film.content)
