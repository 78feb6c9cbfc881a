"""A small MCP server over stdio: the standard library and nothing else."""

import json
import sys
import traceback


current_id = None


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def serve(tools):
    """Serves `tools`: name -> (definition, function of the arguments)."""
    global current_id
    for line in sys.stdin:
        request = json.loads(line)
        if "id" not in request or "method" not in request:
            continue
        current_id = request["id"]
        send({"id": request["id"], **answer(tools, request)})


def answer(tools, request):
    method, params = request["method"], request.get("params", {})
    if method == "initialize":
        return {
            "result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "test", "version": "1"},
            }
        }
    if method == "tools/list":
        return {"result": {"tools": [{"name": name, **tool[0]} for name, tool in tools.items()]}}
    if method == "tools/call" and params["name"] in tools:
        try:
            return {"result": tools[params["name"]][1](params.get("arguments", {}))}
        except Exception:
            traceback.print_exc()
            text = traceback.format_exc(limit=0).strip()
            return {"result": {"content": [{"type": "text", "text": text}], "isError": True}}
    return {"error": {"code": -32601, "message": f"unknown method or tool: {method}"}}


def structured(value):
    return {"content": [{"type": "text", "text": json.dumps(value)}], "structuredContent": value}
