"""Checks the log part of an mcp-provenance-bundle/v1, written from RFC 6962, RFC 9162 and the C2SP texts alone.

    independent-verifier.py <bundle.json>...

Leaf hash, inclusion, the signatures on checkpoint and bundle, and the manifest. Prints for each file
`ok <leaf index> <tree size>` or `refused: <reason>`; the exit code is 1 when one was refused.
"""

import base64
import hashlib
import json
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey


class Refused(Exception):
    pass


def require(condition, reason):
    if not condition:
        raise Refused(reason)


def sha256(data):
    return hashlib.sha256(data).digest()


def read_vkey(text):
    name, key_id, encoded = text.split("+", 2)
    key = base64.b64decode(encoded, validate=True)
    require(len(key) == 33 and key[0] == 1, "the vkey is not of type 1")
    expected = sha256(name.encode() + b"\n" + key)[:4]
    require(expected.hex() == key_id, "the vkey has another id")
    return name, expected, Ed25519PublicKey.from_public_bytes(key[1:])


def open_note(note, vkey):
    """The text of a note that the key signed (C2SP signed-note)."""
    name, key_id, key = read_vkey(vkey)
    at = note.rindex("\n\n")
    text, lines = note[: at + 1], note[at + 2 :]
    require(lines.endswith("\n"), "the note does not end in a line feed")
    for line in lines[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        require(dash == "\u2014", "a signature line does not begin with a dash")
        signature = base64.b64decode(encoded, validate=True)
        if signer == name and signature[:4] == key_id:
            try:
                key.verify(signature[4:], text.encode())
            except InvalidSignature:
                raise Refused("a signature is wrong") from None
            return text
    raise Refused("the key did not sign")


def root_of(index, size, leaf, path):
    """RFC 9162, section 2.1.3.2; from the leaf up."""
    require(0 <= index < size, "no such leaf")
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        require(sn > 0 and len(sibling) == 32, "the path is too long")
        if fn & 1 or fn == sn:
            node = sha256(b"\x01" + sibling + node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = sha256(b"\x01" + node + sibling)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "the path is too short")
    return node


def canonical(value):
    """RFC 8785 for what a bundle holds: no fractions, and ASCII member names."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def verify(bundle):
    require(bundle["format"] == "mcp-provenance-bundle/v1", "another format")
    log = bundle["log"]
    head, checkpoint = bundle["tlogProof"].split("\n\n", 1)
    header, index, *hashes = head.split("\n")
    require(header == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    require(index == f"index {bundle['leafIndex']}", "another leaf index")
    lines = open_note(checkpoint, log["vkey"]).split("\n")
    require(len(lines) == 4 and lines[3] == "" and lines[0] == log["origin"], "not a checkpoint of this log")
    size, root = int(lines[1]), base64.b64decode(lines[2], validate=True)
    entry = bundle["entry"].encode()
    path = [base64.b64decode(one, validate=True) for one in hashes]
    computed = root_of(bundle["leafIndex"], size, sha256(b"\x00" + entry), path)
    require(computed == root, "the path leads to another root")
    fields = dict(line.split(" ", 1) for line in bundle["entry"].split("\n")[1:-1])
    if bundle["manifest"] is not None:
        named = sha256(bundle["manifest"].encode()).hex()
        require(named == fields["manifest"], "another manifest than the leaf names")
    members = {name: value for name, value in bundle.items() if name != "signature"}
    digest = sha256(canonical(members).encode()).hex()
    text = open_note(bundle["signature"], log["vkey"])
    require(text == f"mcp-provenance-bundle/v1\n{log['origin']}\n{digest}\n", "the bundle was changed")
    return f"ok {bundle['leafIndex']} {size}"


def judge(path):
    try:
        with open(path, encoding="utf-8") as file:
            return verify(json.load(file))
    except Refused as reason:
        return f"refused: {reason}"
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        return f"refused: it cannot be read ({type(cause).__name__})"


def main():
    verdicts = [judge(path) for path in sys.argv[1:]]
    print("\n".join(verdicts))
    return 0 if all(verdict.startswith("ok ") for verdict in verdicts) else 1


sys.exit(main())
