"""Waits in a jail for one server, and becomes it. It is the jail's first and only program; nothing that comes
over stdin before the server is hostile, and everything after it is."""

import _imp
import json, os, select, sys, types

# What servers use, the likeliest first: imported while nobody has sent code yet, and no longer.
PRELOADED = """
    typing dataclasses logging datetime asyncio threading subprocess traceback pathlib random hashlib base64 uuid
    urllib.parse decimal statistics argparse contextlib copy csv hmac html inspect io itertools math queue secrets
    shutil signal socket string struct tempfile textwrap time unicodedata zlib bisect heapq concurrent.futures
"""

BLOCK = 512
EXIT_BROKEN = 96


def read_exactly(count):
    pieces = []
    while count > 0:
        piece = os.read(0, min(count, 1 << 20))
        if not piece:
            os._exit(0)  # Nobody needs this jail: its pool has shrunk, or its gateway is gone.
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def field(header, start, end):
    return header[start:end].split(b"\0", 1)[0].decode()


def unpack(archive, root):
    """Writes the regular files of a canonical ustar archive (the gateway checked its hash)."""
    offset, folders = 0, {root}
    while offset + BLOCK <= len(archive) and archive[offset]:
        header = archive[offset : offset + BLOCK]
        name, prefix = field(header, 0, 100), field(header, 345, 500)
        path = os.path.join(root, prefix, name)
        size = int(field(header, 124, 136), 8)
        folder = os.path.dirname(path)
        if folder not in folders:
            os.makedirs(folder, exist_ok=True)
            while folder not in folders:
                folders.add(folder)
                folder = os.path.dirname(folder)
        with open(path, "wb") as file:
            file.write(archive[offset + BLOCK : offset + BLOCK + size])
        os.chmod(path, 0o555)
        offset += BLOCK + (size + BLOCK - 1) // BLOCK * BLOCK
    for folder in folders:
        try:
            os.chmod(folder, 0o555)
        except PermissionError:
            if folder != root:  # A volume of Kubernetes belongs to root; what is in it is ours.
                raise


def preload():
    for name in PRELOADED.split():
        if select.select([0], [], [], 0)[0]:
            return
        __import__(name)


def forget_shadowed(folder):
    """A server's own module goes before one of the library, whether or not that was preloaded, as in any script."""
    own = {name.removesuffix(".py") for name in os.listdir(folder)}
    for name in list(sys.modules):
        top = name.partition(".")[0]
        if top in own and top not in sys.builtin_module_names and not _imp.is_frozen(top):
            del sys.modules[name]


def become_python(path, layer):
    sys.argv = [path]
    sys.path[0] = os.path.dirname(path)
    if layer:
        sys.path.append(f"/layers/{layer}/python")
    forget_shadowed(sys.path[0])
    with open(path, "rb") as file:
        code = compile(file.read(), path, "exec")
    main = types.ModuleType("__main__")
    main.__file__ = path
    main.__builtins__ = __builtins__
    sys.modules["__main__"] = main
    exec(code, main.__dict__)


def load_egress():
    """A file beside this one; a server's own module of that name is not in its way."""
    from egress import open_forwarder, serve_in_child, serve_in_thread

    del sys.modules["egress"]
    return open_forwarder, serve_in_child, serve_in_thread


def wait():
    listener = None
    if "MILLICENT_EGRESS" in os.environ:
        open_forwarder, serve_in_child, serve_in_thread = load_egress()
        listener = open_forwarder()
    os.write(1, b"millicent-ready\n")
    preload()
    order = json.loads(read_exactly(int(read_exactly(8), 16)))
    path = os.path.join("/mcp", order["entrypoint"])
    try:
        unpack(read_exactly(order["bytes"]), "/mcp")
    except OSError as error:
        sys.stderr.write(f"the code could not be unpacked: {error}\n")
        os._exit(EXIT_BROKEN)
    if order["runtime"] == "elf":
        if listener:
            serve_in_child(listener)
        os.execve(path, [path], dict(os.environ))
    if listener:
        serve_in_thread(listener)
    become_python(path, order["layer"])


wait()
