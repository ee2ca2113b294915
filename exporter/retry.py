"""When to try again: a pure decision, so that it is tested without waiting."""

from __future__ import annotations

import random

from exporter.errors import Retryable, SinkError, Unauthorised
from exporter.settings import RetrySettings


def wait_s(settings: RetrySettings, attempt: int, error: SinkError, uniform: float | None = None) -> float:
    """Seconds to wait before the next attempt.

    attempt: 1 after the first failure. uniform: a number in [0, 1) in place of chance.
    A destination's Retry-After is honoured up to 120 intervals (10 minutes by default): beyond that it is more likely a
    mistake than a wish.
    """
    spread = (random.random() if uniform is None else uniform) * 2 - 1
    if isinstance(error, Unauthorised):
        return settings.unauthorised_interval_s * (1 + settings.jitter * spread)
    backoff = min(settings.max_interval_s, settings.initial_interval_s * settings.multiplier ** min(attempt - 1, 64))
    backoff *= 1 + settings.jitter * spread
    if isinstance(error, Retryable) and error.retry_after_s is not None:
        return max(backoff, min(error.retry_after_s, settings.max_interval_s * 120))
    return backoff
