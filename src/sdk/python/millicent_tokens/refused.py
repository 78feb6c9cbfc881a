class CallRefused(Exception):
    """A call that is not one of the gateway's.

    ``reason`` is one of missing, malformed, algorithm, type, key, signature, issuer, audience, expired, not-yet,
    body, replayed, and keys-unavailable, which is not the caller's fault.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
