import { setMaxListeners } from 'node:events';
import { expect, test } from 'vitest';
import { createAsks } from '../../../src/http/mcp/asks.ts';
import { type ClientEventsInput, createClientEvents } from '../../../src/http/mcp/client-events.ts';
import type { JsonObject } from '../../../src/http/mcp/json-rpc.ts';

function open(capabilities: JsonObject, change: Partial<ClientEventsInput> = {}) {
  const sent: JsonObject[] = [];
  const asks = createAsks({ waitingMax: 100 });
  const over = new AbortController();
  const face = { protocolVersion: '2025-11-25', capabilities, info: {} };
  const events = createClientEvents({
    client: { era: '2025', face, sessionId: undefined },
    sink: { canStream: true, send: (message) => sent.push(message) },
    ...{ asks, progressToken: undefined, logLevel: undefined, over: over.signal, ...change },
  });
  return { events, sent, asks, over };
}

const NEVER = new AbortController().signal;
setMaxListeners(0, NEVER);
const question = (method: string, params: JsonObject = {}) => ({ method, params });

test('a client is asked only what it declared, and by a stream alone', async () => {
  const form = question('elicitation/create', { message: 'Who?' });
  const url = question('elicitation/create', { mode: 'url', url: 'https://example.com' });
  const refused: [JsonObject, { method: string; params: JsonObject }][] = [
    [{}, question('sampling/createMessage')],
    [{}, question('roots/list')],
    [{}, form],
    [{ elicitation: {} }, url],
    [{ elicitation: { url: {} } }, form],
    [{ sampling: {}, elicitation: {}, roots: {} }, question('tools/call')],
  ];
  for (const [capabilities, asked] of refused) {
    const { events, sent } = open(capabilities);
    expect(await events.ask?.(asked, NEVER)).toMatchObject({ error: { code: -32601 } });
    expect(sent).toEqual([]);
  }
  const { events, sent, asks } = open({ elicitation: { url: {} } });
  const asking = events.ask?.(url, NEVER);
  asks.settle(String(sent[0]?.id), { result: { action: 'accept' } });
  expect(await asking).toEqual({ result: { action: 'accept' } });
  const quiet = open({ roots: {} }, { sink: { canStream: false, send: () => {} } });
  expect(quiet.events.ask).toBeUndefined();
});

test('a server that asks without end is told so, and questions end with their request', async () => {
  const { events, over, sent } = open({ roots: {} });
  const asking = Array.from({ length: 40 }, () => events.ask?.(question('roots/list'), NEVER));
  expect(sent).toHaveLength(32);
  over.abort();
  const answers = await Promise.all(asking);
  expect(answers.filter((answer) => answer && 'error' in answer)).toHaveLength(40);
});

test('progress is told under the token of the request alone, and nothing that is not about the request', () => {
  const { events, sent } = open({}, { progressToken: 7 });
  for (const [method, params] of [
    ['notifications/progress', { progressToken: 7, progress: 1 }],
    ['notifications/progress', { progressToken: '7', progress: 2 }],
    ['notifications/progress', { progress: 3 }],
    ['notifications/tools/list_changed', {}],
    ['notifications/cancelled', { requestId: 1 }],
    ['tools/call', {}],
  ] as const) {
    events.notify({ method, params: { ...params } });
  }
  expect(sent).toMatchObject([{ params: { progressToken: 7, progress: 1 } }]);
  const silent = open({});
  silent.events.notify({ method: 'notifications/progress', params: { progress: 1 } });
  expect(silent.sent).toEqual([]);
});
