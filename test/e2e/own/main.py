"""Serves `own_server.py`, the program of the library's page, with one tool."""
import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import own_server


def serve(call, body):
    message = json.loads(body)
    if "id" not in message:
        return b""
    answers = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {}},
            "serverInfo": {"name": "own", "version": "1.0.0"},
        },
        "tools/list": {"tools": [{"name": "whoami", "inputSchema": {"type": "object"}}]},
        "tools/call": {"content": [{"type": "text", "text": call.subject}]},
    }
    answer = {"jsonrpc": "2.0", "id": message["id"]}
    if message["method"] in answers:
        return json.dumps({**answer, "result": answers[message["method"]]}).encode()
    return json.dumps({**answer, "error": {"code": -32601, "message": "Method not found"}}).encode()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        status, answer = own_server.handle(self.headers, body, serve)
        self.send_response(202 if status == 200 and not answer else status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
