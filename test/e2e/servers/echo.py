"""A small MCP server for the tests: echoes, fails, sleeps, breaks its contract."""
import json
import sys
import time

TOOLS = [
    {
        "name": "echo",
        "description": "Answers what it is given.",
        "inputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string", "maxLength": 100000}},
            "required": ["text"],
            "additionalProperties": False,
        },
        "outputSchema": {
            "type": "object",
            "properties": {"text": {"type": "string"}},
            "required": ["text"],
        },
    },
    {"name": "fail", "inputSchema": {"type": "object"}},
    {"name": "sleep", "inputSchema": {"type": "object", "properties": {"seconds": {"type": "number"}}}},
    {
        "name": "liar",
        "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
    {"name": "crash", "inputSchema": {"type": "object"}},
    {"name": "gratis", "inputSchema": {"type": "object"}},
    {"name": "random", "inputSchema": {"type": "object"}},
]


def call(name, arguments):
    if name == "echo":
        text = arguments["text"]
        return {"content": [{"type": "text", "text": text}], "structuredContent": {"text": text}}
    if name == "fail":
        return {"content": [{"type": "text", "text": "it did not work"}], "isError": True}
    if name == "sleep":
        time.sleep(arguments.get("seconds", 60))
        return {"content": [{"type": "text", "text": "awake"}]}
    if name == "liar":
        return {"content": [], "structuredContent": {"n": "not a number"}}
    if name == "crash":
        sys.stderr.write("going down\n")
        sys.exit(3)
    if name == "random":
        return {"content": [{"type": "text", "text": str(time.time_ns())}]}
    return {"content": [{"type": "text", "text": "free of charge"}]}


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "echo", "version": "1.0.0"},
        }
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = call(params["name"], params.get("arguments", {}))
    else:
        result = {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
