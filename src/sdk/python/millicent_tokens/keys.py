import base64
import json
import threading
import time
import urllib.error
import urllib.request
from typing import Any, Callable, Dict, Optional

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from .refused import CallRefused

# As long as this keys are believed without asking again.
FRESH_S = 10 * 60
# What was believed goes on being so while the gateway does not answer.
STALE_S_MAX = 24 * 60 * 60
# Who makes up key ids does not make us ask more often than this.
FETCH_EVERY_S = 30
FETCH_TIMEOUT_S = 5
BYTES_MAX = 64 * 1024
KEYS_MAX = 32


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class Keys:
    """A gateway's key set, fetched and kept; a key that it lists no more is believed no more."""

    def __init__(self, jwks_url: str, now: Callable[[], float] = time.time) -> None:
        self._url = jwks_url
        self._now = now
        self._known: Dict[str, Ed25519PublicKey] = {}
        self._fetched_at = float("-inf")
        self._tried_at = float("-inf")
        self._lock = threading.Lock()

    def find(self, kid: str) -> Ed25519PublicKey:
        """The key of this id; raises CallRefused when the gateway has none."""
        with self._lock:
            age = self._now() - self._fetched_at
            is_wanted = age >= FRESH_S or kid not in self._known
            if is_wanted and self._now() - self._tried_at >= FETCH_EVERY_S:
                self._tried_at = self._now()
                try:
                    self._known = self._fetch()
                    self._fetched_at = self._now()
                except (OSError, ValueError) as error:
                    if kid not in self._known:
                        raise CallRefused("keys-unavailable", "The gateway's keys cannot be fetched.") from error
            if self._now() - self._fetched_at >= STALE_S_MAX:
                raise CallRefused("keys-unavailable", "The gateway's keys cannot be fetched.")
            key = self._known.get(kid)
        if key is None:
            raise CallRefused("key", "The token is signed with a key that is not the gateway's.")
        return key

    def _fetch(self) -> Dict[str, Ed25519PublicKey]:
        opener = urllib.request.build_opener(_NoRedirects)
        request = urllib.request.Request(self._url, headers={"accept": "application/json"})
        with opener.open(request, timeout=FETCH_TIMEOUT_S) as response:
            body = response.read(BYTES_MAX + 1)
        if len(body) > BYTES_MAX:
            raise ValueError(f"the key set is larger than {BYTES_MAX} bytes")
        document = json.loads(body)
        entries = document.get("keys") if isinstance(document, dict) else None
        if not isinstance(entries, list):
            raise ValueError("that is no key set")
        known: Dict[str, Ed25519PublicKey] = {}
        for entry in entries[:KEYS_MAX]:
            key = _read_key(entry)
            if key is not None:
                known[entry["kid"]] = key
        return known


def _read_key(entry: Any) -> Optional[Ed25519PublicKey]:
    """Keys for other purposes stand in the same set."""
    if not isinstance(entry, dict) or entry.get("kty") != "OKP" or entry.get("crv") != "Ed25519":
        return None
    kid, x = entry.get("kid"), entry.get("x")
    if not isinstance(kid, str) or not isinstance(x, str) or len(x) > 64:
        return None
    return Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(x + "=" * (-len(x) % 4)))
