"""A server for the tests whose answers and failures are too long."""
import json
import sys

SECRET = "the content that was not paid for"


def schema(**more):
    return {"inputSchema": {"type": "object"}, **more}


TOOLS = [
    {"name": "huge", **schema()},
    {"name": "complain", **schema()},
    {"name": "scream", **schema()},
    {"name": "lie", **schema(outputSchema={"type": "object", "required": ["n"]})},
]


def call(name):
    if name == "huge":
        # Short here, and three times as long once it is written out in full.
        return {"content": [], "structuredContent": {"numbers": [1e20] * 90000}}
    if name == "complain":
        return {"content": [{"type": "text", "text": (SECRET + " é") * 500}], "isError": True}
    if name == "scream":
        sys.stderr.write((SECRET + "!\n") * 2000)
        sys.exit(1)
    return {"content": [], "structuredContent": {SECRET * 100: True}}


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message.get("params", {})
    result = {}
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "loud", "version": "1.0.0"},
        }
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = call(params["name"])
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
