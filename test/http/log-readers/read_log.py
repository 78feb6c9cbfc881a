"""Replays a log from the C2SP specifications alone: checkpoint, entries, tiles, one inclusion proof.

Arguments: the log's address, its vkey, the index of an entry. Needs the package cryptography and nothing else.
"""

import base64
import hashlib
import sys
import urllib.request

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

base, vkey, wanted = sys.argv[1], sys.argv[2], int(sys.argv[3])


def get(path):
    with urllib.request.urlopen(f"{base}/{path}", timeout=10) as response:
        return response.read()


def leaf_hash(entry):
    return hashlib.sha256(b"\0" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes):
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def tile_path(n, width):
    path = f"{n % 1000:03}"
    while n >= 1000:
        n //= 1000
        path = f"x{n % 1000:03}/{path}"
    return path if width == 256 else f"{path}.p/{width}"


# signed-note: the key, then the line that it signed.
name, key_id, encoded = vkey.split("+", 2)
key = base64.b64decode(encoded, validate=True)
assert key[0] == 1, "an Ed25519 key"
assert hashlib.sha256(name.encode() + b"\n" + key).hexdigest()[:8] == key_id, "the id is that of the key"
note = get("checkpoint").decode()
text, signatures = note[: note.rindex("\n\n") + 1], note[note.rindex("\n\n") + 2 :]
lines = [line.split(" ") for line in signatures.splitlines() if line.startswith(f"\u2014 {name} ")]
mine = [raw for raw in (base64.b64decode(line[2]) for line in lines) if raw[:4].hex() == key_id]
Ed25519PublicKey.from_public_bytes(key[1:]).verify(mine[0][4:], text.encode())

# tlog-checkpoint
origin, count, encoded_root = text.splitlines()
size, root = int(count), base64.b64decode(encoded_root)
assert origin == name, "the checkpoint is the log's own"

# tlog-tiles: every entry, and every tile of every level against them.
entries = []
for n in range((size + 255) // 256):
    width = min(256, size - n * 256)
    data = get(f"tile/entries/{tile_path(n, width)}")
    for _ in range(width):
        length = int.from_bytes(data[:2], "big")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    assert data == b"", "a bundle holds its entries and nothing after them"
level, hashes = 0, [leaf_hash(entry) for entry in entries]
tiles = {}
while hashes:
    for n in range((len(hashes) + 255) // 256):
        part = hashes[n * 256 : (n + 1) * 256]
        tiles[level, n] = get(f"tile/{level}/{tile_path(n, len(part))}")
        assert tiles[level, n] == b"".join(part), f"tile {level}/{n} holds the hashes of its entries"
    full = len(hashes) // 256
    hashes = [root_of(hashes[n * 256 : (n + 1) * 256]) for n in range(full)]
    level += 1
leaves = [leaf_hash(entry) for entry in entries]
assert root_of(leaves) == root, "the entries give the signed root"


# RFC 6962, 2.1.1: the path of one entry, climbed again by RFC 9162, 2.1.3.2.
def path_of(index, part):
    if len(part) == 1:
        return []
    split = 1
    while split * 2 < len(part):
        split *= 2
    if index < split:
        return path_of(index, part[:split]) + [root_of(part[split:])]
    return path_of(index - split, part[split:]) + [root_of(part[:split])]


fn, sn, climbed = wanted, size - 1, leaves[wanted]
for sibling in path_of(wanted, leaves):
    if fn % 2 or fn == sn:
        climbed = node_hash(sibling, climbed)
        while fn % 2 == 0 and fn:
            fn, sn = fn // 2, sn // 2
    else:
        climbed = node_hash(climbed, sibling)
    fn, sn = fn // 2, sn // 2
assert sn == 0 and climbed == root, "the entry is in the tree"
sys.stdout.write(f"size {size}\nroot {encoded_root}\n{entries[wanted].decode()}")
