import { createServer } from 'node:http';
import { tellReady } from './ready.ts';

/** A publisher's server of the least cost: stateless, one tool, one sentence. It speaks both eras. */
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    const { id, method } = JSON.parse(Buffer.concat(chunks).toString() || '{}');
    const result = RESULTS.get(method);
    if (id === undefined || result === undefined)
      return void response.writeHead(id === undefined ? 202 : 404).end();
    const body = JSON.stringify({ jsonrpc: '2.0', id, result });
    response.writeHead(200, {
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
    });
    response.end(body);
  });
});

const isModern = process.env.ERA === 'modern';
const capabilities = { tools: {} };
const serverInfo = { name: 'bench', version: '1' };
const RESULTS = new Map<string, object>([
  ['tools/call', { content: [{ type: 'text', text: 'Forty-two words of an answer. '.repeat(8) }] }],
  ['initialize', { protocolVersion: '2025-11-25', capabilities, serverInfo }],
  ['tools/list', { tools: [{ name: 'answer', inputSchema: { type: 'object' } }] }],
]);
if (isModern) {
  RESULTS.set('server/discover', {
    ...{ resultType: 'complete', supportedVersions: ['2026-07-28'], capabilities },
    ...{ ttlMs: 0, cacheScope: 'private' },
  });
}
tellReady(server);
