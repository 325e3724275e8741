"""Batches whose items are accepted or rejected one by one (`allow_partial`), or all or none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Generic, Protocol, TypeVar

from ...domain.errors import DraftlineError
from ..cooperative import yielding


class Result(Protocol):
    """The outcome of one item in a store."""

    @property
    def error(self) -> DraftlineError | None: ...


M = TypeVar("M")
Item = TypeVar("Item")
R = TypeVar("R", bound=Result)


class PartialBatch(Generic[Item]):
    """The items of a request that could be converted, and the errors of the others.

    Unless the request allows partial success, the first error is raised.
    """

    def __init__(self, field: str, *, allow_partial: bool) -> None:
        """Create an empty batch of the items in the repeated `field` of a request."""
        self.items: list[Item] = []
        self._field = field
        self._allow_partial = allow_partial
        self._count = 0
        self._errors: dict[int, DraftlineError] = {}

    async def convert(self, messages: Iterable[M], convert: Callable[[M], Item]) -> None:
        """Convert the messages to items."""
        async for index, message in yielding(enumerate(messages)):
            self._count += 1
            try:
                self.items.append(convert(message))
            except DraftlineError as error:
                self._errors[index] = self._located(error, index)

    def outcomes(self, results: Iterable[R]) -> Iterator[tuple[int, R | DraftlineError]]:
        """Yield the index of each message with the result of its item, or with its error."""
        converted = iter(results)
        for index in range(self._count):
            error = self._errors.get(index)
            if error is None:
                result = next(converted)
                if result.error is None:
                    yield index, result
                    continue
                error = self._located(result.error, index)
            yield index, error

    def _located(self, error: DraftlineError, index: int) -> DraftlineError:
        """Return the error with the index of its item, or raise it."""
        located = error.within(f"{self._field}[{index}]")
        if not self._allow_partial:
            raise located from None
        return located
