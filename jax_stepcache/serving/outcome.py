"""What becomes of a request in a stream."""

from __future__ import annotations

from typing import NamedTuple

from jax_stepcache.loop.result import SampleResult


class DeadlineExceeded(TimeoutError):
    """A request was not finished by its deadline."""


class Outcome(NamedTuple):
    """The one answer to a request, or the one error.

    Attributes:
        ticket: the number that `Stream.submit` gave the request.
        result: its result, a batch of one; None where it failed.
        error: why it failed: `DeadlineExceeded`, `concurrent.futures.CancelledError`,
            or `FloatingPointError` for a velocity that was not finite; else None.
    """

    ticket: int
    result: SampleResult | None
    error: BaseException | None

    def unwrap(self) -> SampleResult:
        """The result.

        Raises:
            BaseException: the error, where there is one.
        """
        if self.result is None:
            raise self.error or RuntimeError("an outcome has a result or an error")
        return self.result
