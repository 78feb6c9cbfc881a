"""Keccak-256, secp256k1 and the EIP-712 signature of an EIP-3009 transfer, from their specifications."""
import secrets

MASK = (1 << 64) - 1
ROTATIONS = [
    [0, 36, 3, 41, 18],
    [1, 44, 10, 45, 2],
    [62, 6, 43, 15, 61],
    [28, 55, 25, 21, 56],
    [27, 20, 39, 8, 14],
]
RATE = 136

P = 2**256 - 2**32 - 977
N = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
G = (
    0x79BE667EF9DCBBAC55A06295CE870B07029BFCDB2DCE28D959F2815B16F81798,
    0x483ADA7726A3C4655DA4FBFC0E1108A8FD17B448A68554199C47D08FFB10D4B8,
)

DOMAIN = b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
TRANSFER = (
    b"TransferWithAuthorization(address from,address to,uint256 value,"
    b"uint256 validAfter,uint256 validBefore,bytes32 nonce)"
)


def sign_transfer(key, domain, transfer):
    """The signature (0x, r, s, v) of an EIP-3009 authorization under its token's domain."""
    separator = keccak(
        keccak(DOMAIN)
        + keccak(domain["name"].encode())
        + keccak(domain["version"].encode())
        + word(domain["chainId"])
        + address_word(domain["verifyingContract"])
    )
    struct = keccak(
        keccak(TRANSFER)
        + address_word(transfer["from"])
        + address_word(transfer["to"])
        + word(int(transfer["value"]))
        + word(int(transfer["validAfter"]))
        + word(int(transfer["validBefore"]))
        + bytes.fromhex(transfer["nonce"][2:])
    )
    return sign(key, keccak(b"\x19\x01" + separator + struct))


def address_of(key):
    x, y = multiply(G, key)
    return "0x" + keccak(word(x) + word(y))[12:].hex()


def sign(key, digest):
    z = int.from_bytes(digest, "big")
    while True:
        k = secrets.randbelow(N - 1) + 1
        x, y = multiply(G, k)
        r = x % N
        s = pow(k, -1, N) * (z + r * key) % N
        if x < N and r and s:
            break
    odd = y & 1
    # EIP-2: of the two signatures that verify, the one with the lower s.
    if s > N // 2:
        s, odd = N - s, odd ^ 1
    return "0x" + (word(r) + word(s) + bytes([27 + odd])).hex()


def multiply(point, factor):
    result = None
    while factor:
        if factor & 1:
            result = add(result, point)
        point = add(point, point)
        factor >>= 1
    return result


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a == b:
        slope = 3 * a[0] * a[0] * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return (x, (slope * (a[0] - x) - a[1]) % P)


def word(number):
    return number.to_bytes(32, "big")


def address_word(address):
    return bytes.fromhex(address[2:]).rjust(32, b"\0")


def keccak(data):
    state = [[0] * 5 for _ in range(5)]
    padded = bytearray(data) + bytearray(RATE - len(data) % RATE)
    padded[len(data)] ^= 0x01
    padded[-1] ^= 0x80
    for start in range(0, len(padded), RATE):
        for lane in range(RATE // 8):
            at = start + 8 * lane
            state[lane % 5][lane // 5] ^= int.from_bytes(padded[at : at + 8], "little")
        permute(state)
    return b"".join(state[lane][0].to_bytes(8, "little") for lane in range(4))


def permute(a):
    """Keccak-f[1600]: theta, rho and pi, chi, iota."""
    register = 1
    for _ in range(24):
        c = [a[x][0] ^ a[x][1] ^ a[x][2] ^ a[x][3] ^ a[x][4] for x in range(5)]
        d = [c[(x - 1) % 5] ^ rotate(c[(x + 1) % 5], 1) for x in range(5)]
        b = [[0] * 5 for _ in range(5)]
        for x in range(5):
            for y in range(5):
                b[y][(2 * x + 3 * y) % 5] = rotate(a[x][y] ^ d[x], ROTATIONS[x][y])
        for x in range(5):
            for y in range(5):
                a[x][y] = b[x][y] ^ (~b[(x + 1) % 5][y] & MASK & b[(x + 2) % 5][y])
        for bit in range(7):
            if register & 1:
                a[0][0] ^= 1 << ((1 << bit) - 1)
            register = (register << 1) ^ (0x171 if register & 0x80 else 0)


def rotate(lane, count):
    return ((lane << count) | (lane >> (64 - count))) & MASK
