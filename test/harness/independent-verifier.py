"""Checks an mcp-provenance-bundle/v1, from its documents and the specifications they name alone.

    independent-verifier.py <bundle.json>...

Written from src/provenance/FORMATS.md, contracts/README.md, RFC 6962, 8785 and 9162, the C2SP texts and Ethereum's
yellow paper; Keccak, RLP and the Merkle Patricia trie are here, so that no library is shared with our own verifier.
Prints for each file `ok <leaf index> <tree size>`, with ` anchor <index> block <number>` for an anchor and
` grown to <size>` for growth since, or `refused: <reason>`; the exit code is 1 when one was refused.
"""

import base64
import binascii
import hashlib
import json
import re
import sys

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

# contracts/README.md, "Storage": the hash of the one code of VersionAnchor.
CODE_HASH = "cbde6eb3ff203f97bf06ec1e908892fc6056db47ebf62b4ffbd2b8775de4fc58"
MEMBERS = {
    "bundle": "format log entry leafIndex tlogProof manifest anchor appendOnly signature",
    "log": "origin vkey witnesses",
    "anchor": "chainId contract anchorIndex treeSize root txHash blockNumber blockHash header proof",
    "proof": "account storage",
    "slot": "key value proof",
    "growth": "from to proof anchor",
}
LEAVES = {
    "publish": "tool version sha256 manifest publisher time",
    "yank": "tool version publisher time",
    "transfer": "tool from to time",
    "key-add": "publisher format key public expires time",
    "key-revoke": "publisher format key time",
    "anchor-contract": "log chain contract time",
}


class Refused(Exception):
    pass


def require(condition, reason):
    if not condition:
        raise Refused(reason)


def sha256(data):
    return hashlib.sha256(data).digest()


def unbase64(text):
    data = base64.b64decode(text, validate=True)
    require(base64.b64encode(data).decode() == text, "base64 in another spelling")
    return data


def unhex(text, size=None):
    require(re.fullmatch(r"0x([0-9a-f]{2})+", text), "not 0x and lower case hex")
    require(size is None or len(text) == 2 + 2 * size, "hex of another length")
    return bytes.fromhex(text[2:])


def has_members(value, kind):
    require(isinstance(value, dict) and set(value) == set(MEMBERS[kind].split()), f"{kind}: other members")


def is_count(value):
    return type(value) is int and 0 <= value < 2**53


# Notes (C2SP signed-note, tlog-cosignature)


def read_vkey(text, kind):
    name, key_id, encoded = text.split("+", 2)
    key = unbase64(encoded)
    require(len(key) == 33 and key[0] == kind, f"the vkey is not of type {kind}")
    expected = sha256(name.encode() + b"\n" + key)[:4]
    require(expected.hex() == key_id, "the vkey has another id")
    return name, expected, Ed25519PublicKey.from_public_bytes(key[1:])


def split_note(note):
    at = note.rindex("\n\n")
    text, lines = note[: at + 1], note[at + 2 :]
    require(lines.endswith("\n"), "the note does not end in a line feed")
    signatures = []
    for line in lines[:-1].split("\n"):
        dash, signer, encoded = line.split(" ")
        require(dash == "\u2014", "a signature line does not begin with a dash")
        signature = unbase64(encoded)
        signatures.append((signer, signature[:4], signature[4:]))
    return text, signatures


def open_note(note, vkey, kind=1):
    """The text of a note that the key signed, and how many signatures there are."""
    name, key_id, key = read_vkey(vkey, kind)
    text, signatures = split_note(note)
    for signer, signer_id, signature in signatures:
        if (signer, signer_id) != (name, key_id):
            continue
        message = text.encode()
        if kind == 4:
            time, signature = int.from_bytes(signature[:8], "big"), signature[8:]
            message = f"cosignature/v1\ntime {time}\n".encode() + message
        try:
            key.verify(signature, message)
        except InvalidSignature:
            raise Refused("a signature is wrong") from None
        return text, len(signatures)
    raise Refused("the key did not sign")


# Trees (RFC 9162, sections 2.1.3.2 and 2.1.4.2)


def parent(left, right):
    return sha256(b"\x01" + left + right)


def root_of(index, size, leaf, path):
    require(0 <= index < size, "no such leaf")
    fn, sn, node = index, size - 1, leaf
    for sibling in path:
        require(sn > 0 and len(sibling) == 32, "the path is too long")
        if fn & 1 or fn == sn:
            node = parent(sibling, node)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            node = parent(node, sibling)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0, "the path is too short")
    return node


def check_growth(first, second, first_root, second_root, path):
    require(0 < first < second and path, "no proof of growth")
    if first & (first - 1) == 0:
        path = [first_root, *path]
    fn, sn = first - 1, second - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for node in path[1:]:
        require(sn > 0, "the proof of growth is too long")
        if fn & 1 or fn == sn:
            fr, sr = parent(node, fr), parent(node, sr)
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = parent(sr, node)
        fn, sn = fn >> 1, sn >> 1
    require(sn == 0 and fr == first_root and sr == second_root, "the log did not only grow")


# Ethereum (yellow paper: appendix B for RLP, D for tries, section 4.4 for headers; EIP-1186)


def rotate(lane, by):
    return (lane << by | lane >> (64 - by)) & (2**64 - 1) if by else lane


def permute(a):
    register = 1
    for _ in range(24):
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x + 4) % 5] ^ rotate(c[(x + 1) % 5], 1) for x in range(5)]
        a = [[a[x][y] ^ d[x] for y in range(5)] for x in range(5)]
        x, y, current = 1, 0, a[1][0]
        for t in range(24):
            x, y = y, (2 * x + 3 * y) % 5
            current, a[x][y] = a[x][y], rotate(current, (t + 1) * (t + 2) // 2 % 64)
        a = [[a[x][y] ^ (~a[(x + 1) % 5][y] & a[(x + 2) % 5][y]) for y in range(5)] for x in range(5)]
        for j in range(7):
            register = (register << 1 ^ (register >> 7) * 0x71) % 256
            if register & 2:
                a[0][0] ^= 1 << ((1 << j) - 1)
    return a


def keccak256(data):
    rate, state = 136, [[0] * 5 for _ in range(5)]
    padded = bytearray(data + b"\x01" + bytes(rate - 1 - len(data) % rate))
    padded[-1] |= 0x80
    for at in range(0, len(padded), rate):
        for i in range(rate // 8):
            state[i % 5][i // 5] ^= int.from_bytes(padded[at + 8 * i : at + 8 * i + 8], "little")
        state = permute(state)
    return b"".join(state[i % 5][i // 5].to_bytes(8, "little") for i in range(4))


def take_rlp(data):
    """The first value, and what follows it."""
    require(data, "RLP ends early")
    first = data[0]
    if first < 0x80:
        return data[:1], data[1:]
    is_list, short = first >= 0xC0, first - (0xC0 if first >= 0xC0 else 0x80)
    at, size = 1, short
    if short > 55:
        at, size = 1 + short - 55, int.from_bytes(data[1 : 1 + short - 55], "big")
        require(size > 55 and len(data) > 1 and data[1] != 0, "RLP in a longer spelling")
    body, rest = data[at : at + size], data[at + size :]
    require(len(body) == size, "RLP ends early")
    if not is_list:
        require(size != 1 or body[0] >= 0x80, "RLP in a longer spelling")
        return body, rest
    items = []
    while body:
        item, body = take_rlp(body)
        items.append(item)
    return items, rest


def read_rlp(data):
    item, rest = take_rlp(data)
    require(rest == b"", "RLP with something after it")
    return item


def read_trie(root, key, nodes):
    nibbles = [half for byte in keccak256(key) for half in (byte >> 4, byte & 15)]
    nodes, child = list(nodes), root
    while True:
        node = child
        if isinstance(child, bytes):
            require(len(child) == 32 and nodes, "a trie proof ends early")
            data = nodes.pop(0)
            require(keccak256(data) == child, "a trie node is not the one its parent names")
            node = read_rlp(data)
        require(isinstance(node, list), "a trie node is no list")
        if len(node) == 17:
            require(nibbles, "a trie goes on below its key")
            child, nibbles = node[nibbles[0]], nibbles[1:]
            continue
        require(len(node) == 2, "a trie node of another length")
        path = [half for byte in node[0] for half in (byte >> 4, byte & 15)]
        require(path and path[0] < 4 and (path[0] & 1 or path[1] == 0), "a trie path in another spelling")
        own = path[1:] if path[0] & 1 else path[2:]
        require(nibbles[: len(own)] == own, "the trie holds no such value")
        nibbles, child = nibbles[len(own) :], node[1]
        if path[0] & 2:
            require(not nibbles and not nodes and isinstance(child, bytes), "a trie proof ends elsewhere")
            return child


def check_anchor(anchor):
    """What the block's state holds at the anchor's index: root, size, time and block number."""
    has_members(anchor, "anchor")
    has_members(anchor["proof"], "proof")
    require(all(is_count(anchor[name]) for name in ("chainId", "anchorIndex", "treeSize", "blockNumber")), "a count")
    unhex(anchor["txHash"], 32)
    header = unhex(anchor["header"])
    require(keccak256(header) == unhex(anchor["blockHash"], 32), "the header is of another block")
    fields = read_rlp(header)
    require(int.from_bytes(fields[8], "big") == anchor["blockNumber"], "the block has another number")
    proof = anchor["proof"]
    account = read_rlp(read_trie(fields[3], unhex(anchor["contract"], 20), [unhex(one) for one in proof["account"]]))
    require(len(account) == 4 and account[3].hex() == CODE_HASH, "the contract is no VersionAnchor")
    require(len(proof["storage"]) == 2, "not two slots")
    base = int.from_bytes(keccak256(bytes(32)), "big") + 2 * anchor["anchorIndex"]
    values = []
    for at, slot in enumerate(proof["storage"]):
        has_members(slot, "slot")
        key = ((base + at) % 2**256).to_bytes(32, "big")
        require(unhex(slot["key"], 32) == key, "a proof of another slot")
        value = read_rlp(read_trie(account[2], key, [unhex(one) for one in slot["proof"]]))
        require(isinstance(value, bytes) and value.rjust(32, b"\0") == unhex(slot["value"], 32), "another value")
        values.append(int.from_bytes(value, "big"))
    root, size = values[0].to_bytes(32, "big"), values[1] % 2**64
    time, block = values[1] >> 64 & (2**64 - 1), values[1] >> 128
    require(root == unhex(anchor["root"], 32) and size == anchor["treeSize"], "the chain holds another root or size")
    require(time <= int.from_bytes(fields[11], "big") and block < 2**64, "an anchor younger than its block")
    return root, size, time, block


def check_leaf(entry):
    head, *lines = entry.split("\n")
    words = head.split(" ")
    require(len(words) == 2 and words[0] == "mcp-log/v1" and words[1] in LEAVES, "no leaf of the version log")
    require(lines[-1] == "", "the leaf does not end in a line feed")
    pairs = [line.split(" ") for line in lines[:-1]]
    require([pair[0] for pair in pairs] == LEAVES[words[1]].split(), "other fields than the leaf's kind has")
    return words[1], dict(pairs)


def check_checkpoint(bundle):
    """Size and root that the log signed, in which the leaf is."""
    log = bundle["log"]
    head, checkpoint = bundle["tlogProof"].split("\n\n", 1)
    header, index, *hashes = head.split("\n")
    require(header == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    require(is_count(bundle["leafIndex"]) and index == f"index {bundle['leafIndex']}", "another leaf index")
    require(read_vkey(log["vkey"], 1)[0] == log["origin"], "the vkey is of another log")
    lines = open_note(checkpoint, log["vkey"])[0].split("\n")
    require(len(lines) == 4 and lines[3] == "" and lines[0] == log["origin"], "not a checkpoint of this log")
    for witness in log["witnesses"]:
        open_note(checkpoint, witness, 4)
    require(re.fullmatch(r"0|[1-9][0-9]{0,15}", lines[1]), "the size is no count")
    size, root = int(lines[1]), unbase64(lines[2])
    leaf = sha256(b"\x00" + bundle["entry"].encode())
    computed = root_of(bundle["leafIndex"], size, leaf, [unbase64(one) for one in hashes])
    require(computed == root, "the path leads to another root")
    return size, root


def canonical(value):
    """RFC 8785 for what a bundle holds: whole numbers, and ASCII member names."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def verify(bundle):
    has_members(bundle, "bundle")
    require(bundle["format"] == "mcp-provenance-bundle/v1", "another format")
    has_members(bundle["log"], "log")
    log, anchor, growth = bundle["log"], bundle["anchor"], bundle["appendOnly"]
    kind, fields = check_leaf(bundle["entry"])
    if bundle["manifest"] is not None:
        require(kind == "publish" and sha256(bundle["manifest"].encode()).hex() == fields["manifest"], "a manifest")
        manifest = json.loads(bundle["manifest"])
        said = (manifest["name"], manifest["version"], manifest["code"])
        require(said == (fields["tool"], fields["version"], "sha256:" + fields["sha256"]), "a manifest of another")
    size, root = check_checkpoint(bundle)
    members = {name: value for name, value in bundle.items() if name != "signature"}
    digest = sha256(canonical(members).encode()).hex()
    text, signatures = open_note(bundle["signature"], log["vkey"])
    require(signatures == 1, "another signature than the log's")
    require(text == f"mcp-provenance-bundle/v1\n{log['origin']}\n{digest}\n", "the bundle was changed")
    verdict = f"ok {bundle['leafIndex']} {size}"
    if anchor is None:
        require(growth is None, "growth since no anchor")
        return verdict
    held_root, held_size, time, block = check_anchor(anchor)
    require((held_root, held_size) == (root, size), "the anchor is of another tree")
    verdict += f" anchor {anchor['anchorIndex']} block {anchor['blockNumber']}"
    if growth is None:
        return verdict
    has_members(growth, "growth")
    later = growth["anchor"]
    later_root, later_size, later_time, later_block = check_anchor(later)
    place = ("chainId", "contract")
    require(all(later[name] == anchor[name] for name in place), "growth in another contract")
    require((growth["from"], growth["to"]) == (size, later_size), "growth between other trees")
    require(later["anchorIndex"] > anchor["anchorIndex"] and later_time >= time and later_block >= block, "an order")
    require(all(re.fullmatch(r"[0-9a-f]{64}", one) for one in growth["proof"]), "hashes of growth")
    check_growth(size, later_size, root, later_root, [bytes.fromhex(one) for one in growth["proof"]])
    return f"{verdict} grown to {later_size}"


def judge(path):
    try:
        with open(path, encoding="utf-8") as file:
            return verify(json.load(file))
    except Refused as reason:
        return f"refused: {reason}"
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, binascii.Error) as cause:
        return f"refused: it cannot be read ({type(cause).__name__})"


def main():
    assert keccak256(b"").hex() == "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    verdicts = [judge(path) for path in sys.argv[1:]]
    print("\n".join(verdicts))
    return 0 if all(verdict.startswith("ok ") for verdict in verdicts) else 1


sys.exit(main())
