import { writeArchive } from '../../../src/core/archive.ts';
import { sha256Hex } from '../../../src/core/bytes.ts';
import type { Code } from '../../../src/execution/index.ts';

const SOURCE = `
import json, sys

def answer(method, params):
    if method == "initialize":
        return {"protocolVersion": params["protocolVersion"], "capabilities": {"tools": {}}, "serverInfo": {"name": "echo", "version": "1"}}
    return {"content": [{"type": "text", "text": params["arguments"]["text"]}]}

for line in sys.stdin:
    request = json.loads(line)
    if "id" in request:
        result = answer(request["method"], request.get("params", {}))
        sys.stdout.write(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}) + "\\n")
        sys.stdout.flush()
`;

const archive = writeArchive(new Map([['server.py', Buffer.from(SOURCE)]]));

/** A server of the standard library that every side runs. */
export const ECHO_CODE: Code = {
  sha256: sha256Hex(archive),
  runtime: 'python',
  entrypoint: 'server.py',
  archive,
};

export const ECHO_ARGUMENTS = { text: 'a few words' };
