import base64
import binascii
import hashlib
import hmac
import json
import re
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, Iterable, Mapping, Optional, Union

from cryptography.exceptions import InvalidSignature

from .keys import Keys
from .refused import CallRefused
from .replays import ReplayCache

TYP = "mcp-call+jwt"
TIERS = ("free", "key", "credential", "gateway")
LIFETIME_S = 15 * 60
CLOCK_SKEW_S = 30
TOKEN_CHARACTERS_MAX = 4096
_BEARER = re.compile(r"Bearer +([A-Za-z0-9._-]+)", re.IGNORECASE)
_PART = re.compile(r"[A-Za-z0-9_-]*")


@dataclass(frozen=True)
class Call:
    """A call that the gateway vouches for."""

    audience: str
    # The same for the same payer at your server, and nowhere else.
    subject: str
    # How the call is paid: "gateway" is the gateway itself, which looks what you offer.
    tier: str
    token_id: str
    issued_at: float
    expires_at: float
    # SHA-256 over what was bought, hex, as it stands in the receipt.
    call_digest: Optional[str]


class CallVerifier:
    """Tells a gateway's requests from everybody else's (RFC 7515, RFC 7519, RFC 8037)."""

    def __init__(
        self,
        issuer: str,
        audience: Union[str, Iterable[str]],
        *,
        jwks_url: Optional[str] = None,
        replays: Optional[ReplayCache] = None,
        clock_skew_s: float = CLOCK_SKEW_S,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = issuer.rstrip("/")
        self._audiences = frozenset([audience] if isinstance(audience, str) else audience)
        self._keys = Keys(jwks_url or f"{self._issuer}/.well-known/jwks.json", now)
        self._replays = replays
        self._skew = clock_skew_s
        self._now = now

    def verify(self, headers: Mapping[str, str], body: Union[bytes, str]) -> Call:
        """What the gateway says of a request; raises CallRefused. The body is taken byte for byte as it came."""
        token = _read_bearer(headers)
        parts = token.split(".")
        if len(parts) != 3:
            raise CallRefused("malformed", "The token is not a compact JWS.")
        header = _read_json(parts[0])
        # The algorithm is ours to say, never the token's.
        if header.get("alg") != "EdDSA":
            raise CallRefused("algorithm", "The token is not signed with EdDSA.")
        if header.get("typ") != TYP or "crit" in header:
            raise CallRefused("type", f"The token is not a {TYP}.")
        kid = header.get("kid")
        key = self._keys.find(kid if isinstance(kid, str) else "")
        try:
            key.verify(_decode(parts[2]), f"{parts[0]}.{parts[1]}".encode("ascii"))
        except InvalidSignature as error:
            raise CallRefused("signature", "The token's signature is wrong.") from error
        claims = _read_json(parts[1])
        self._check_claims(claims)
        raw = body.encode() if isinstance(body, str) else body
        digest = base64.urlsafe_b64encode(hashlib.sha256(raw).digest()).rstrip(b"=").decode()
        if not hmac.compare_digest(digest, _text(claims, "req")):
            raise CallRefused("body", "The token was made for another body.")
        call = _to_call(claims)
        if self._replays is not None and not self._replays.take(call.token_id, call.expires_at, self._now()):
            raise CallRefused("replayed", "The token was used before.")
        return call

    def _check_claims(self, claims: Dict[str, Any]) -> None:
        now = self._now()
        if claims.get("iss") != self._issuer:
            raise CallRefused("issuer", "The token is another gateway's.")
        if _text(claims, "aud") not in self._audiences:
            raise CallRefused("audience", "The token is for another server.")
        issued_at, expires_at = _number(claims, "iat"), _number(claims, "exp")
        if now >= expires_at + self._skew or now > issued_at + LIFETIME_S + self._skew:
            raise CallRefused("expired", "The token has expired.")
        not_before = _number(claims, "nbf") if "nbf" in claims else issued_at
        if max(issued_at, not_before) > now + self._skew:
            raise CallRefused("not-yet", "The token is not valid yet.")
        if claims.get("tier") not in TIERS:
            raise CallRefused("malformed", "The token has no tier that is known here.")


def _read_bearer(headers: Mapping[str, str]) -> str:
    values = [value for name, value in headers.items() if name.lower() == "authorization"]
    match = _BEARER.fullmatch(values[0]) if len(values) == 1 else None
    if match is None or len(match[1]) > TOKEN_CHARACTERS_MAX:
        raise CallRefused("missing", "There is no token.")
    return match[1]


def _decode(part: str) -> bytes:
    if _PART.fullmatch(part) is None:
        raise CallRefused("malformed", "The token is not base64url.")
    try:
        return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError) as error:
        raise CallRefused("malformed", "The token is not base64url.") from error


def _read_json(part: str) -> Dict[str, Any]:
    try:
        value = json.loads(_decode(part))
    except (ValueError, RecursionError) as error:
        raise CallRefused("malformed", "The token is not JSON.") from error
    if not isinstance(value, dict):
        raise CallRefused("malformed", "The token is not a JSON object.")
    return value


def _text(claims: Dict[str, Any], name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str):
        raise CallRefused("malformed", f"The token's {name} is not a text.")
    return value


def _number(claims: Dict[str, Any], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CallRefused("malformed", f"The token's {name} is not a number.")
    return float(value)


def _to_call(claims: Dict[str, Any]) -> Call:
    call_digest = claims.get("call")
    return Call(
        audience=_text(claims, "aud"),
        subject=_text(claims, "sub"),
        tier=_text(claims, "tier"),
        token_id=_text(claims, "jti"),
        issued_at=_number(claims, "iat"),
        expires_at=_number(claims, "exp"),
        call_digest=call_digest if isinstance(call_digest, str) else None,
    )
