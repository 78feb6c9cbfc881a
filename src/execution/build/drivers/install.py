"""Runs in the build jail: pip installs what was locked, and every file of it goes out over stdout."""

import os, sys

OUT = "/tmp/out"
CHUNK = 1 << 20
END = 0xFFFFFFFF


def write_all(descriptor, content):
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def frame(result, number, size):
    write_all(result, number.to_bytes(4, "big") + size.to_bytes(8, "big"))


def send(result, folder, prefix):
    """Regular files only: whatever else an installer makes is not part of a layer."""
    for entry in sorted(os.scandir(folder), key=lambda entry: os.fsencode(entry.name)):
        path = prefix + os.fsencode(entry.name)
        if entry.is_dir(follow_symlinks=False):
            send(result, entry.path, path + b"/")
        elif entry.is_file(follow_symlinks=False):
            with open(entry.path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                frame(result, len(path), size)
                write_all(result, path)
                while piece := file.read(CHUNK):
                    write_all(result, piece)


def install():
    sys.path.insert(0, "/mcp/pip.whl")
    from pip._internal.cli.main import main

    options = ["--isolated", "--disable-pip-version-check", "--no-input", "--no-cache-dir", "--no-color"]
    network = ["--index-url", os.environ["BUILD_INDEX"], "--cert", "/mcp/authorities.pem", "--retries", "2"]
    network += ["--proxy", os.environ["HTTPS_PROXY"], "--timeout", "20"]
    strict = ["--only-binary", ":all:", "--require-hashes", "--no-deps", "--no-compile", "--progress-bar", "off"]
    return main(["install", *options, *network, *strict, "--target", OUT + "/python", "-r", "/mcp/requirements.txt"])


def run():
    # What pip prints is for the log; only files go out by stdout.
    result = os.dup(1)
    os.dup2(2, 1)
    with open("/mcp/index.txt") as file:
        os.environ["BUILD_INDEX"] = file.read()
    os.makedirs(OUT + "/python")
    code = install()
    if code == 0:
        send(result, OUT, b"")
    frame(result, END, int(code))


run()
sys.stdout.flush()
os._exit(0)
