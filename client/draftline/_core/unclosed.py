"""The warning about a bulk writer that was never closed."""

from __future__ import annotations

import logging
import warnings

_log = logging.getLogger("draftline")


def warn_if_lost(pending: int, failed: int) -> None:
    """Warn of writes without an outcome, and of failures that nobody was informed of; 0 and 0: do nothing.

    By default Python shows the log record on standard error, and hides the ResourceWarning.
    """
    lost = [f"{pending} of its writes have no outcome"] if pending else []
    lost += [f"{failed} failed"] if failed else []
    if not lost:
        return
    message = f"a bulk writer was not closed, and {' and '.join(lost)}: use it in a `with` block, or call close()"
    _log.warning(message)
    warnings.warn(message, ResourceWarning, stacklevel=2)
