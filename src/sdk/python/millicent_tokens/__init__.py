"""Tells the calls of a Millicent gateway from everybody else's."""

from .keys import Keys
from .refused import CallRefused
from .replays import ReplayCache
from .verifier import Call, CallVerifier

__all__ = ["Call", "CallRefused", "CallVerifier", "Keys", "ReplayCache"]
