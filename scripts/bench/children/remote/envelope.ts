import { createServer } from 'node:http';
import { systemClock } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import {
  createCallTokens,
  createRemoteServers,
} from '../../../../src/execution/backends/remote-mcp/index.ts';
import { tellReady } from './ready.ts';

/** A call through the gateway's own `remote-mcp` backend, with nothing of the gateway around it. */
const SERVER_ID = '01980000-0000-7000-8000-0000000000aa';
const signing = createCallTokens({
  ...{ secrets: [Buffer.alloc(32, 1)], issuer: 'https://gateway.example', clock: systemClock },
});
const spare = signing.sign({ audience: SERVER_ID, caller: undefined, body: '' });
const tokens = process.env.WITH_TOKEN === 'yes' ? signing : { ...signing, sign: () => spare };
const remote = createRemoteServers({
  ...{ tokens, clock: systemClock, log: silentLog, allowLoopback: true, connectionsMax: 64 },
});
const target = {
  ...{ kind: 'remote' as const, serverId: SERVER_ID, endpoint: `${process.env.TARGET}/mcp` },
  limits: { runTimeoutMs: 5_000, outputBytesMax: 1024 * 1024 },
};
const caller = { subject: 'payer-7', tier: 'key' as const, requestDigest: 'ab'.repeat(32) };
const client = { protocolVersion: '2025-11-25', capabilities: {}, info: { name: 'bench', version: '1' } };
const NEVER = new AbortController().signal;

const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', async () => {
    const { id, method, params } = JSON.parse(Buffer.concat(chunks).toString());
    const answer = await remote.exchange(
      { server: target, request: { method, params }, caller, client },
      NEVER,
    );
    if (answer.kind !== 'result') return void response.writeHead(502).end(JSON.stringify(answer));
    const body = JSON.stringify({ jsonrpc: '2.0', id, result: answer.result });
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    response.end(body);
  });
});
tellReady(server);
