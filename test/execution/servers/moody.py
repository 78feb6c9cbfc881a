"""A server whose tool does whatever its arguments ask for."""

import sys
import time

from mcp import serve, structured


def mood(arguments):
    want = arguments.get("want")
    if want == "error":
        return {"content": [{"type": "text", "text": arguments["text"]}], "isError": True}
    if want == "silent error":
        return {"content": [], "isError": True}
    if want == "exit":
        sys.stderr.write("giving up\n")
        sys.exit(arguments["code"])
    if want == "sleep":
        time.sleep(arguments["seconds"])
    if want == "no structure":
        return {"content": [{"type": "text", "text": "only words"}]}
    return structured(arguments.get("value", {"fine": True}))


serve({"mood": ({"inputSchema": {"type": "object"}}, mood)})
