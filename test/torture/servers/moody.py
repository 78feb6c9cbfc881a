"""A server in a mood: its caller says in which, and it keeps to it."""
import json
import os
import sys
import time

TOOLS = [
    {
        "name": "ask",
        "inputSchema": {
            "type": "object",
            "properties": {
                "label": {"type": "string"},
                "mood": {"enum": ["well", "unique", "error", "breach", "text", "hang", "crash"]},
                "ms": {"type": "integer"},
            },
            "required": ["label", "mood"],
        },
        "outputSchema": {
            "type": "object",
            "properties": {"label": {"type": "string"}},
            "required": ["label"],
        },
    }
]


def ask(arguments):
    mood, label = arguments["mood"], arguments["label"]
    time.sleep(arguments.get("ms", 0) / 1000)
    if mood == "hang":
        time.sleep(600)
    if mood == "crash":
        os._exit(3)
    if mood == "error":
        # All but the error is as the contract has it.
        content = [{"type": "text", "text": "not today"}]
        return {"content": content, "structuredContent": {"label": label}, "isError": True}
    if mood == "text":
        # As the contract has it, for who reads it and not for who parses it.
        return {"content": [{"type": "text", "text": json.dumps({"label": label})}]}
    if mood == "breach":
        return {"content": [], "structuredContent": {"label": 7}}
    answer = {"label": label}
    if mood == "unique":
        answer["run"] = os.urandom(8).hex()
    return {"content": [{"type": "text", "text": json.dumps(answer)}], "structuredContent": answer}


for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    method, params = message["method"], message.get("params", {})
    if method == "initialize":
        result = {
            "protocolVersion": params["protocolVersion"],
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "moody", "version": "1.0.0"},
        }
    elif method == "tools/list":
        result = {"tools": TOOLS}
    elif method == "tools/call":
        result = ask(params.get("arguments", {}))
    else:
        result = {}
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}) + "\n")
    sys.stdout.flush()
