"""The jail's end of its way out: a forwarder on loopback, where HTTPS_PROXY points, that carries connections to the
egress proxy's unix socket. What may be reached is decided at the other end, outside; nothing here is trusted."""

import asyncio, os, socket, sys, threading

ADDRESS = ("127.0.0.1", 3128)
BACKLOG = 64
CHUNK = 65536
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"


def open_forwarder():
    """Listens and tells the environment; connections wait until somebody serves. None in a jail without a way out."""
    path = os.environ.get("MILLICENT_EGRESS")
    if not path:
        return None
    listener = socket.create_server(ADDRESS, backlog=BACKLOG)
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"):
        os.environ[name] = os.environ[name.lower()] = "http://%s:%d" % ADDRESS
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
    if os.path.exists(CERTIFICATES):
        os.environ.setdefault("SSL_CERT_FILE", CERTIFICATES)
    return listener


def serve_in_thread(listener):
    """Beside the server, in its process."""
    serving = threading.Thread(target=asyncio.run, args=(serve(listener),), name="egress", daemon=True)
    serving.start()


def serve_in_child(listener):
    """In a process of its own, which outlives that this one becomes another program."""
    try:
        child = os.fork()
    except OSError:
        sys.stderr.write("this sandbox cannot start the forwarder of the egress proxy: there is no network\n")
        return
    if child:
        listener.close()
        return
    nothing = os.open("/dev/null", os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    asyncio.run(serve(listener))
    os._exit(0)


async def serve(listener):
    path = os.environ["MILLICENT_EGRESS"]

    async def accept(reader, writer):
        try:
            proxy_reader, proxy_writer = await asyncio.open_unix_connection(path)
        except OSError:
            writer.close()
            return
        await asyncio.gather(carry(reader, proxy_writer), carry(proxy_reader, writer))
        proxy_writer.close()
        writer.close()

    server = await asyncio.start_server(accept, sock=listener)
    await server.serve_forever()


async def carry(reader, writer):
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()
