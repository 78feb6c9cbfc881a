"""An MCP server that does everything a server of the 2025 revisions may do while it answers a call."""

import json
import os
import sys

state = {"hello": None, "level": None, "asked": 0}


def send(message):
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method, params):
    send({"method": method, "params": params})


def receive():
    line = sys.stdin.readline()
    if not line:
        sys.exit(0)
    return json.loads(line)


def ask(method, params):
    state["asked"] += 1
    send({"id": f"ask-{state['asked']}", "method": method, "params": params})
    while True:
        message = receive()
        if message.get("id") == f"ask-{state['asked']}":
            return message


def progress(params, arguments):
    token = params.get("_meta", {}).get("progressToken")
    for step in range(arguments["steps"]):
        notify("notifications/progress", {"progressToken": token, "progress": step + 1, "total": arguments["steps"]})
    notify("notifications/progress", {"progressToken": "of-somebody-else", "progress": 1})
    notify("notifications/tools/list_changed", {})
    return "done"


def log(params, arguments):
    if state["level"] is not None:
        notify("notifications/message", {"level": state["level"], "data": "as you wish"})
    return state["level"]


def flood(params, arguments):
    for number in range(arguments["count"]):
        notify("notifications/message", {"level": "info", "data": "x" * arguments["size"], "number": number})
    return "done"


def wait(params, arguments):
    notify("notifications/message", {"level": "info", "data": "waiting"})
    message = receive()
    os._exit(42 if message.get("method") == "notifications/cancelled" else 43)


def ask_thrice(params, arguments):
    for number in range(3):
        send({"id": "same", "method": "roots/list"})
    return "done"


def withdraw(params, arguments):
    send({"id": "w", "method": "roots/list"})
    notify("notifications/cancelled", {"requestId": "w"})
    return ask("ping", {})


TOOLS = {
    "progress": progress,
    "log": log,
    "flood": flood,
    "wait": wait,
    "ask": lambda params, arguments: ask(arguments["method"], arguments.get("params", {})),
    "ask_thrice": ask_thrice,
    "withdraw": withdraw,
    "hello": lambda params, arguments: state["hello"],
    "meta": lambda params, arguments: params.get("_meta"),
}


def answer(method, params):
    if method == "initialize":
        state["hello"] = params
        return {
            "result": {
                "protocolVersion": params["protocolVersion"],
                "capabilities": {"tools": {}, "logging": {}, "resources": {}, "prompts": {}},
                "serverInfo": {"name": "full", "version": "1.2.3", "title": "Full"},
                "instructions": "Ask for anything.",
            }
        }
    if method == "tools/list":
        return {"result": {"tools": [{"name": name, "inputSchema": {"type": "object"}} for name in TOOLS]}}
    if method == "tools/call":
        value = TOOLS[params["name"]](params, params.get("arguments", {}))
        return {"result": {"content": [], "structuredContent": {"value": value}}}
    if method == "logging/setLevel":
        state["level"] = params["level"]
        return {"result": {}}
    if method == "resources/read" and params["uri"] == "memo://1":
        return {"result": {"contents": [{"uri": "memo://1", "text": "remember"}]}}
    if method == "resources/read":
        return {"error": {"code": -32002, "message": "Resource not found", "data": {"uri": params["uri"]}}}
    return {"error": {"code": -32601, "message": f"unknown method: {method}"}}


while True:
    request = receive()
    if "id" in request and "method" in request:
        send({"id": request["id"], **answer(request["method"], request.get("params", {}))})
