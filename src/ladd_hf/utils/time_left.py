"""Seconds until a job is done, by the share of its work that is."""

from __future__ import annotations

import time


class TimeLeft:
    """A clock of a job, which takes the rest of its work to go as fast as what is done.

    Args:
        work: of the whole job, in any unit, above 0.
    """

    def __init__(self, work: float) -> None:
        self._work, self._done, self._start = work, 0.0, time.monotonic()

    @property
    def passed(self) -> float:
        """Seconds since the job began."""
        return time.monotonic() - self._start

    def after(self, more: float) -> float:
        """Returns the seconds that are left after `more` of the work, above 0, has been done."""
        self._done += more
        return self.passed * max(self._work / self._done - 1, 0.0)
