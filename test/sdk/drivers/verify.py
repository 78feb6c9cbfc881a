"""Verifies what is written to stdin, a JSON line at a time; the first line says whose tokens are taken."""

import json
import sys

from millicent_tokens import CallRefused, CallVerifier, ReplayCache

settings = json.loads(sys.stdin.readline())
now = [0.0]
verifier = CallVerifier(
    settings["issuer"],
    settings["audience"],
    jwks_url=settings["jwksUrl"],
    replays=ReplayCache(),
    now=lambda: now[0],
)
for line in sys.stdin:
    request = json.loads(line)
    now[0] = request["now"]
    try:
        call = verifier.verify({"Authorization": request["authorization"]}, request["body"].encode())
        answer = {
            "verdict": "ok",
            "call": [call.audience, call.subject, call.tier, call.token_id, call.call_digest],
        }
    except CallRefused as refused:
        answer = {"verdict": refused.reason}
    print(json.dumps(answer), flush=True)
