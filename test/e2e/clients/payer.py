"""A paying HTTP client written from the specifications of L402, MPP and x402 alone, on Python's own library.

Sends one request; when it is answered 402, pays once by the wire that was chosen and sends it again with the
credential. Prints the last answer as JSON: status, headers, body.
"""
import argparse
import base64
import hashlib
import http.client
import json
import os
import re
import secrets
import time
import urllib.parse

import ethereum

TIMEOUT_SECONDS = 30
# The names that x402 version 1 has for networks.
NETWORKS = {"base": 8453, "base-sepolia": 84532}

TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
END = r"(?=[ \t]*(?:,|$))"
PARAMETER = re.compile(rf'({TOKEN})[ \t]*=[ \t]*(?:"((?:[^"\\]|\\.)*)"|({TOKEN})){END}')
TOKEN68 = re.compile(rf"[A-Za-z0-9\-._~+/]+=*{END}")
SCHEME = re.compile(rf"({TOKEN})(?:[ \t]+|{END})")
SEPARATORS = re.compile(r"[ \t,]*")


def main():
    options = read_options()
    first = send(options, {})
    if first["status"] == 402:
        first = send(options, PAYERS[options.wire](options, first))
    print(json.dumps(first))


def read_options():
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("--wire", required=True, choices=sorted(PAYERS))
    parser.add_argument("--method", default="GET")
    parser.add_argument("--header", action="append", default=[])
    parser.add_argument("--data")
    parser.add_argument("--pay-url")
    return parser.parse_args()


def send(options, more):
    headers = dict(line.split(": ", 1) for line in options.header)
    return exchange(options.method, options.url, options.data, {**headers, **more})


def exchange(method, url, data, headers):
    parts = urllib.parse.urlsplit(url)
    secure = parts.scheme == "https"
    connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection = connect(parts.hostname, parts.port, timeout=TIMEOUT_SECONDS)
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    connection.request(method, target, body=data and data.encode(), headers=headers)
    response = connection.getresponse()
    fields = {}
    for name, value in response.getheaders():
        # RFC 9110, section 5.3: several lines of one name are one list.
        fields[name.lower()] = f"{fields[name.lower()]}, {value}" if name.lower() in fields else value
    body = response.read().decode()
    connection.close()
    return {"status": response.status, "headers": fields, "body": body}


def parse_challenges(text):
    """RFC 9110, section 11.6.1: a list of challenges, each of which is a scheme with a list of its own."""
    challenges = []
    at = SEPARATORS.match(text).end()
    while at < len(text):
        parameter = PARAMETER.match(text, at) if challenges else None
        if parameter:
            name, quoted, bare = parameter.groups()
            value = bare if quoted is None else re.sub(r"\\(.)", r"\1", quoted)
            challenges[-1][1][name.lower()] = value
            at = parameter.end()
        else:
            scheme = SCHEME.match(text, at)
            if not scheme:
                raise ValueError(f"not a challenge: {text[at:at + 40]}")
            challenges.append((scheme.group(1).lower(), {}))
            at = scheme.end()
            token = None if PARAMETER.match(text, at) else TOKEN68.match(text, at)
            at = token.end() if token else at
        at = SEPARATORS.match(text, at).end()
    return challenges


def pay_l402(options, answer):
    """L402, protocol-specification.md: a token and an invoice; the preimage completes the credential."""
    for scheme, parameters in parse_challenges(answer["headers"]["www-authenticate"]):
        if scheme in ("l402", "lsat"):
            token = parameters.get("token") or parameters["macaroon"]
            preimage = pay_invoice(options, parameters["invoice"])
            return {"Authorization": f"{scheme.upper()} {token}:{preimage}"}
    raise ValueError("no L402 challenge")


def pay_mpp(options, answer):
    """draft-httpauth-payment with draft-lightning-charge-00: the challenge comes back with the preimage."""
    for scheme, challenge in parse_challenges(answer["headers"]["www-authenticate"]):
        if scheme != "payment" or (challenge["method"], challenge["intent"]) != ("lightning", "charge"):
            continue
        details = json.loads(from_base64url(challenge["request"]))["methodDetails"]
        preimage = pay_invoice(options, details["invoice"])
        if hashlib.sha256(bytes.fromhex(preimage)).hexdigest() != details["paymentHash"]:
            raise ValueError("the preimage is of another payment")
        credential = {"challenge": challenge, "payload": {"preimage": preimage}}
        return {challenge.get("header", "Authorization"): "Payment " + to_base64url(credential)}
    raise ValueError("no lightning charge among the challenges")


def pay_invoice(options, invoice):
    headers = {"Content-Type": "application/json"}
    answer = exchange("POST", options.pay_url, json.dumps({"invoice": invoice}), headers)
    return json.loads(answer["body"])["preimage"]


def pay_x402(_, answer):
    """x402 version 2: the challenge is a header, and its extensions are echoed."""
    required = json.loads(base64.b64decode(answer["headers"]["payment-required"]))
    accepted = next(one for one in required["accepts"] if one["scheme"] == "exact")
    chain = int(accepted["network"].removeprefix("eip155:"))
    payload = {
        "x402Version": 2,
        "resource": required["resource"],
        "accepted": accepted,
        "payload": authorize(accepted, accepted["amount"], chain),
        "extensions": required.get("extensions", {}),
    }
    return {"PAYMENT-SIGNATURE": base64.b64encode(json.dumps(payload).encode()).decode()}


def pay_x402_v1(_, answer):
    """x402 version 1: the challenge is the body."""
    accepted = next(one for one in json.loads(answer["body"])["accepts"] if one["scheme"] == "exact")
    network = accepted["network"]
    signed = authorize(accepted, accepted["maxAmountRequired"], NETWORKS[network])
    payload = {"x402Version": 1, "scheme": "exact", "network": network, "payload": signed}
    return {"X-PAYMENT": base64.b64encode(json.dumps(payload).encode()).decode()}


def authorize(accepted, amount, chain):
    """scheme_exact_evm.md: an EIP-3009 authorization and its signature."""
    key = int(os.environ["PAYER_KEY"], 16)
    now = int(time.time())
    authorization = {
        "from": ethereum.address_of(key),
        "to": accepted["payTo"],
        "value": amount,
        "validAfter": str(now - 600),
        "validBefore": str(now + accepted["maxTimeoutSeconds"]),
        "nonce": "0x" + secrets.token_hex(32),
    }
    domain = {**accepted["extra"], "chainId": chain, "verifyingContract": accepted["asset"]}
    return {"signature": ethereum.sign_transfer(key, domain, authorization), "authorization": authorization}


def from_base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def to_base64url(value):
    """RFC 8785 for what holds only strings of ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


PAYERS = {"l402": pay_l402, "mpp": pay_mpp, "x402": pay_x402, "x402-v1": pay_x402_v1}

main()
