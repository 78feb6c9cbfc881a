"""An MCP server of the 2026-07-28 revision and of no other: it refuses `initialize`."""

import json
import sys

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
heard = []


def answer(method, params):
    meta = params.get("_meta", {})
    heard.append(method)
    if method == "initialize" or meta.get(META + "protocolVersion") != VERSION:
        return {"error": {"code": -32022, "message": "Unsupported protocol version", "data": {"supported": [VERSION]}}}
    if not isinstance(meta.get(META + "clientCapabilities"), dict):
        return {"error": {"code": -32602, "message": "no clientCapabilities"}}
    if method == "server/discover":
        return complete(
            supportedVersions=[VERSION],
            capabilities={"tools": {}},
            instructions="Say who you are.",
            _meta={META + "serverInfo": {"name": "stateless", "version": "2"}},
        )
    if method == "tools/list":
        return complete(tools=[{"name": name, "inputSchema": {"type": "object"}} for name in ("meta", "confirm")])
    if method == "tools/call" and params["name"] == "meta":
        return complete(content=[], structuredContent={"meta": meta, "heard": heard})
    if method == "tools/call" and params["name"] == "confirm":
        return confirm(params, meta)
    return {"error": {"code": -32601, "message": f"unknown method: {method}"}}


def confirm(params, meta):
    if "elicitation" not in meta[META + "clientCapabilities"]:
        return {"error": {"code": -32021, "message": "elicitation is needed"}}
    if "inputResponses" in params:
        return complete(content=[], structuredContent={"given": params["inputResponses"], "state": params["requestState"]})
    question = {"mode": "form", "message": "Sure?" + "?" * params["arguments"].get("marks", 0), "requestedSchema": {}}
    return {
        "result": {
            "resultType": "input_required",
            "inputRequests": {"sure": {"method": "elicitation/create", "params": question}},
            "requestState": "s1",
        }
    }


def complete(**result):
    return {"result": {"resultType": "complete", **result}}


for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], **answer(request["method"], request.get("params", {}))}) + "\n")
        sys.stdout.flush()
