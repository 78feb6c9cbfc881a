import { afterEach, expect, test } from 'vitest';
import type { RemoteMcp } from '../../src/execution/backends/remote-mcp/index.ts';
import { waitUntil } from '../harness/process.ts';
import {
  callTool,
  LIMITS,
  makeRemote,
  SERVER_ID,
  startEndpoint,
  startModern,
  startSdk2,
  startStateless,
  startWithSessions,
  type TestEndpoint,
  textOf,
} from './remote-harness.ts';

const open: { close(): Promise<void> }[] = [];
const keep = <T extends { close(): Promise<void> }>(thing: T): T => {
  open.push(thing);
  return thing;
};
afterEach(async () => {
  for (const thing of open.splice(0).reverse()) await thing.close();
});

const NEVER = new AbortController().signal;
const caller = (subject: string) => ({ subject, tier: 'key' as const, requestDigest: 'ab'.repeat(32) });
const client = {
  protocolVersion: '2025-11-25',
  capabilities: { elicitation: {} },
  info: { name: 'c', version: '1' },
};
const greet = (remote: RemoteMcp, { url }: TestEndpoint) =>
  remote.greet({ kind: 'remote', serverId: SERVER_ID, endpoint: url, limits: LIMITS }, NEVER);

test('an endpoint with sessions is initialized once for a caller, and every caller has a session of its own', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const texts = [];
  for (const subject of ['a', 'a', 'b', 'a']) {
    texts.push(textOf(await callTool(remote, endpoint.url, 'count', { by: 1 }, { caller: caller(subject) })));
  }
  expect(texts).toEqual(['1', '2', '1', '3']);
  expect(endpoint.seen.filter(({ rpc }) => rpc === 'initialize')).toHaveLength(2);
  expect(endpoint.seen.filter(({ rpc }) => rpc === 'server/discover').length).toBeLessThanOrEqual(2);
  const calls = endpoint.seen.filter(({ rpc }) => rpc === 'tools/call');
  expect(calls).toHaveLength(4);
  for (const { headers } of calls) {
    expect(headers['mcp-protocol-version']).toBe('2025-11-25');
    expect(headers['mcp-session-id']).toMatch(/^[0-9a-f-]{36}$/);
  }
});

test('strangers never share a session, and none of theirs is kept', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const stranger = { ...caller('anyone'), isStranger: true };
  const count = () => callTool(remote, endpoint.url, 'count', { by: 1 }, { caller: stranger });
  expect([await count(), await count()].map(textOf)).toEqual(['1', '1']);
  expect((await Promise.all([count(), count(), count()])).map(textOf)).toEqual(['1', '1', '1']);
  expect(remote.health()[endpoint.url]?.sessions).toBe(0);
  await waitUntil(() => endpoint.seen.filter(({ method }) => method === 'DELETE').length === 5);
});

test('a session that its endpoint has lost is opened anew, and the call is made once', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  await callTool(remote, endpoint.url, 'count', { by: 1 });
  endpoint.forget();
  expect(textOf(await callTool(remote, endpoint.url, 'count', { by: 1 }))).toBe('1');
  expect(endpoint.calls()).toEqual([1, 1]);
});

test('calls that begin at once share one greeting', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const texts = await Promise.all(
    Array.from({ length: 10 }, async () => textOf(await callTool(remote, endpoint.url, 'count', { by: 1 }))),
  );
  expect(texts.map(Number).sort((a, b) => a - b)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
  expect(endpoint.seen.filter(({ rpc }) => rpc === 'initialize')).toHaveLength(1);
});

test('closing ends the sessions at their server', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = makeRemote();
  await callTool(remote, endpoint.url, 'count', { by: 1 });
  expect(endpoint.sessions()).toBe(1);
  await remote.close();
  expect(endpoint.sessions()).toBe(0);
});

test('what a server says while it works comes in order, before its answer', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const heard: unknown[] = [];
  const events = { notify: (message: unknown) => void heard.push(message) };
  expect(textOf(await callTool(remote, endpoint.url, 'slow', {}, { events }))).toBe('done');
  expect(heard).toMatchObject(
    [1, 2, 3].map((progress) => ({
      method: 'notifications/progress',
      params: { progress, progressToken: 'p1' },
    })),
  );
});

test('what a server asks of its client is passed on, and the answer goes back', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const asked: string[] = [];
  const events = {
    notify: () => {},
    ask: async ({ method }: { method: string }) => {
      asked.push(method);
      return { result: { action: 'accept', content: { name: 'Ada' } } };
    },
  };
  expect(textOf(await callTool(remote, endpoint.url, 'ask', {}, { client, events }))).toBe('accept Ada');
  expect(textOf(await callTool(remote, endpoint.url, 'ask-in-call', {}, { client, events }))).toBe('accept');
  expect(asked).toEqual(['elicitation/create', 'elicitation/create']);
});

test('a client that nobody can ask is not announced as one that can', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  const answer = await callTool(remote, endpoint.url, 'ask', {}, { client, events: { notify: () => {} } });
  expect(textOf(answer)).toMatch(/not support/i);
});

test('an endpoint without sessions is initialized once for everybody', async () => {
  const endpoint = keep(await startStateless());
  const remote = keep(makeRemote());
  for (const subject of ['a', 'b', 'c']) {
    const answer = await callTool(remote, endpoint.url, 'count', { by: 2 }, { caller: caller(subject) });
    expect(textOf(answer)).toBe('2');
  }
  expect(endpoint.seen.filter(({ rpc }) => rpc === 'initialize')).toHaveLength(1);
  expect(remote.health()[endpoint.url]).toMatchObject({
    state: 'closed',
    era: 'legacy',
    sessions: 0,
    inFlight: 0,
  });
});

test('a stateless endpoint of 2026-07-28 gets one POST for a call, with the headers that repeat its body', async () => {
  const endpoint = keep(await startSdk2({ legacy: 'reject' }));
  const remote = keep(makeRemote());
  const clientInfo = { name: 'agent', version: '9' };
  const modern = {
    protocolVersion: '2026-07-28',
    capabilities: { elicitation: { url: {} } },
    info: clientInfo,
  };
  expect(textOf(await callTool(remote, endpoint.url, 'add', { a: 2, b: 3 }, { client: modern }))).toBe('5');
  expect(textOf(await callTool(remote, endpoint.url, 'add', { a: 2, b: 4 }, { client }))).toBe('6');
  const prompt = { method: 'prompts/get', params: { name: 'grüße' } };
  const server = { kind: 'remote' as const, serverId: SERVER_ID, endpoint: endpoint.url, limits: LIMITS };
  expect(await remote.exchange({ server, request: prompt }, NEVER)).toMatchObject({
    result: { messages: [{ content: { text: 'umlaut' } }] },
  });
  expect(endpoint.seen).toHaveLength(4);
  expect(endpoint.seen[1]?.headers).toMatchObject({
    ...{ 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call', 'mcp-name': 'add' },
    ...{ accept: 'application/json, text/event-stream', 'accept-encoding': 'identity' },
  });
  expect(endpoint.seen[3]?.headers['mcp-name']).toBe('=?base64?Z3LDvMOfZQ==?=');
});

test('the face of a client reaches a stateless server, and no capability of a client that cannot answer it', async () => {
  const endpoint = keep(
    await startModern(({ id, params }) => ({
      jsonrpc: '2.0',
      id,
      result: { content: [], seen: params._meta },
    })),
  );
  const remote = keep(makeRemote());
  const modern = {
    protocolVersion: '2026-07-28',
    capabilities: { sampling: {} },
    info: { name: 'm', version: '2' },
  };
  const seen = async (face: typeof modern) => {
    const answer = await callTool(remote, endpoint.url, 'x', {}, { client: face });
    return answer.kind === 'result' ? answer.result.seen : answer;
  };
  expect(await seen(modern)).toEqual({
    progressToken: 'p1',
    'io.modelcontextprotocol/protocolVersion': '2026-07-28',
    'io.modelcontextprotocol/clientCapabilities': { sampling: {} },
    'io.modelcontextprotocol/clientInfo': { name: 'm', version: '2' },
  });
  expect(await seen({ ...modern, protocolVersion: '2025-11-25' })).toMatchObject({
    'io.modelcontextprotocol/clientCapabilities': {},
  });
});

test('an endpoint of both eras is spoken to in the newer one', async () => {
  const endpoint = keep(await startSdk2());
  const remote = keep(makeRemote());
  expect(textOf(await callTool(remote, endpoint.url, 'add', { a: 1, b: 1 }))).toBe('2');
  expect(endpoint.seen.at(-1)?.headers['mcp-protocol-version']).toBe('2026-07-28');
});

test('what an endpoint says of itself is the same on both eras', async () => {
  const remote = keep(makeRemote());
  const [old, modern] = [keep(await startWithSessions()), keep(await startSdk2())];
  expect(await greet(remote, old)).toMatchObject({
    ...{ info: { name: 'counter', version: '1.2.3' }, instructions: 'Count.' },
    capabilities: { tools: {}, logging: {} },
  });
  expect(await greet(remote, modern)).toMatchObject({
    ...{ info: { name: 'modern', version: '2.0.0' }, instructions: 'Ask away.', capabilities: { tools: {} } },
  });
  await waitUntil(() => old.sessions() === 0);
});

test('what is no MCP server cannot be greeted, and why is said in a sentence', async () => {
  const remote = keep(makeRemote());
  const website = keep(
    await startEndpoint(
      (_, response) => void response.setHeader('content-type', 'text/html').end('<p>hello'),
    ),
  );
  await expect(greet(remote, website)).rejects.toMatchObject({
    type: 'tool-failed',
    options: { detail: 'The server answered neither with JSON nor with a stream of events.' },
  });
});

test("a server's JSON-RPC error comes back as one, with its data, whatever the HTTP status", async () => {
  const remote = keep(makeRemote());
  const endpoint = keep(
    await startModern(({ id }, response) => {
      response.statusCode = 404;
      return { jsonrpc: '2.0', id, error: { code: -32601, message: 'no such tool', data: { hint: 1 } } };
    }),
  );
  expect(await callTool(remote, endpoint.url, 'x')).toMatchObject({
    ...{ kind: 'error', code: -32601, message: 'no such tool', data: { hint: 1 } },
  });
});

test('a caller who goes away stops the tool at a server with sessions', async () => {
  const endpoint = keep(await startWithSessions());
  const remote = keep(makeRemote());
  await callTool(remote, endpoint.url, 'count', { by: 1 });
  const leaving = new AbortController();
  const call = callTool(remote, endpoint.url, 'hang', {}, { signal: leaving.signal });
  await waitUntil(() => endpoint.seen.some(({ body }) => body.includes('"hang"')));
  leaving.abort();
  expect(await call).toMatchObject({ kind: 'failed', reason: 'cancelled' });
  await waitUntil(() => endpoint.calls()[0] === 1_000);
  expect(endpoint.seen.at(-1)?.rpc).toBe('notifications/cancelled');
});

test('a stream that its server closes meanwhile is taken up where it was', async () => {
  let getHeaders: unknown;
  const endpoint = keep(
    await startEndpoint((request, response, body) => {
      if (request.method === 'GET') {
        getHeaders = request.headers;
        response.setHeader('content-type', 'text/event-stream');
        const answer = { jsonrpc: '2.0', id: pending, result: { content: [{ type: 'text', text: 'late' }] } };
        return void response.end(`id: 8\ndata: ${JSON.stringify(answer)}\n\n`);
      }
      const message = JSON.parse(body);
      if (message.method === 'server/discover') return void response.writeHead(400).end();
      if (message.method !== 'tools/call') {
        const result = {
          protocolVersion: '2025-11-25',
          capabilities: {},
          serverInfo: { name: 'x', version: '1' },
        };
        response.setHeader('content-type', 'application/json');
        return void response.end(JSON.stringify({ jsonrpc: '2.0', id: message.id, result }));
      }
      pending = message.id;
      response.setHeader('content-type', 'text/event-stream').end('id: 7\nretry: 20\ndata:\n\n');
    }),
  );
  let pending = 0;
  expect(textOf(await callTool(keep(makeRemote()), endpoint.url, 'x'))).toBe('late');
  expect(getHeaders).toMatchObject({ 'last-event-id': '7', accept: 'text/event-stream' });
});

test('200 calls at once are all answered, over no more connections than the pool may have', async () => {
  const endpoint = keep(
    await startModern(({ id, params }) => ({
      jsonrpc: '2.0',
      id,
      result: { content: [{ type: 'text', text: params.name }] },
    })),
  );
  const remote = keep(makeRemote({ connectionsMax: 16 }));
  const names = Array.from({ length: 200 }, (_, index) => `tool-${index}`);
  const texts = await Promise.all(
    names.map(async (name) => textOf(await callTool(remote, endpoint.url, name))),
  );
  expect(texts).toEqual(names);
  expect(endpoint.connections()).toBeLessThanOrEqual(16);
  expect(remote.health()[endpoint.url]?.inFlight).toBe(0);
});

test('a client that wants to hear more of the log does, on both eras', async () => {
  const remote = keep(makeRemote());
  const old = keep(await startWithSessions());
  await callTool(remote, old.url, 'count', { by: 1 }, { logLevel: 'debug' });
  expect(
    old.seen.filter(({ rpc }) => rpc === 'logging/setLevel').map(({ body }) => JSON.parse(body).params),
  ).toEqual([{ level: 'debug' }]);
  const modern = keep(
    await startModern(({ id, params }) => ({
      jsonrpc: '2.0',
      id,
      result: { content: [], seen: params._meta },
    })),
  );
  expect(await callTool(remote, modern.url, 'x', {}, { logLevel: 'debug' })).toMatchObject({
    result: { seen: { 'io.modelcontextprotocol/logLevel': 'debug' } },
  });
});
