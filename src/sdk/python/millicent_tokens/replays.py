import threading

TOKENS_MAX = 100_000


class ReplayCache:
    """Remembers the tokens of one process that were used; of too many the oldest is forgotten first."""

    def __init__(self, tokens_max: int = TOKENS_MAX) -> None:
        self._tokens_max = tokens_max
        self._used: "dict[str, float]" = {}
        self._lock = threading.Lock()

    def take(self, token_id: str, expires_at: float, now: float) -> bool:
        """False when a token with this id came before."""
        with self._lock:
            if token_id in self._used:
                return False
            while self._used:
                oldest = next(iter(self._used))
                if self._used[oldest] > now and len(self._used) < self._tokens_max:
                    break
                del self._used[oldest]
            self._used[token_id] = expires_at
            return True
