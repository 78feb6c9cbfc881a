import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Json } from '../../src/core/canonical-json.ts';
import type { ClientFace, Exchange, Jail, Outcome, ServerEvents } from '../../src/execution/index.ts';
import {
  codeOf,
  findLastingTraces,
  hosted,
  NO_TRACES,
  never,
  testBackend,
  testExecution,
} from './harness.ts';

const backend = testBackend();
const jails: Jail[] = [];
const execution = testExecution({
  ...backend,
  acquire: async (spec, signal) => {
    const jail = await backend.acquire(spec, signal);
    jails.push(jail);
    return jail;
  },
});
afterEach(async () => expect(await findLastingTraces()).toEqual(NO_TRACES));
afterAll(() => execution.close());

const full = codeOf(['mcp_full.py']);
const stateless = codeOf(['mcp_stateless.py']);

const client = (protocolVersion: string, capabilities: ClientFace['capabilities'] = {}): ClientFace => ({
  protocolVersion,
  capabilities,
  info: { name: 'tester', version: '7' },
});

type Told = { method: string; params: { [key: string]: Json } }[];

function listen(more: Partial<ServerEvents> = {}): { told: Told; events: ServerEvents } {
  const told: Told = [];
  return { told, events: { notify: (message) => told.push(message), ...more } };
}

function run(
  name: string,
  given: { [key: string]: Json } = {},
  more: Partial<Exchange> & { meta?: { [key: string]: Json }; code?: typeof full; further?: object } = {},
  signal: AbortSignal = never,
): Promise<Outcome> {
  const { meta, code = full, further, ...rest } = more;
  const params = { name, arguments: given, ...(meta ? { _meta: meta } : {}), ...further };
  return execution.run(
    { server: hosted(code), request: { method: 'tools/call', params }, outputSchema: undefined, ...rest },
    signal,
  );
}

function structured(outcome: Outcome): { [key: string]: Json } | undefined {
  if (outcome.kind !== 'delivered') throw new Error(`${outcome.reason}: ${outcome.detail}`);
  return outcome.result.structuredContent;
}
const readValue = (outcome: Outcome) => structured(outcome)?.value;

describe('a hosted server of the 2025 revisions', () => {
  it.each([
    ['2024-11-05', '2024-11-05'],
    ['2025-06-18', '2025-06-18'],
    ['2025-11-25', '2025-11-25'],
    ['1999', '2025-11-25'],
  ])("is greeted in the client's own revision: %s", async (spoken, told) => {
    const hello = readValue(await run('hello', {}, { client: client(spoken) }));
    expect(hello).toEqual({
      protocolVersion: told,
      capabilities: {},
      clientInfo: { name: 'tester', version: '7' },
    });
  });

  it('is greeted by the gateway itself where no client is behind it', async () => {
    expect(readValue(await run('hello'))).toMatchObject({
      capabilities: {},
      clientInfo: { name: 'millicent' },
    });
  });

  it('serves a client of 2026-07-28 too, and is not shown what it cannot know', async () => {
    const meta = { progressToken: 1, 'io.modelcontextprotocol/protocolVersion': '2026-07-28' };
    const seen = readValue(await run('meta', {}, { client: client('2026-07-28'), meta }));
    expect(seen).toEqual({ progressToken: 1 });
  });

  it('tells its progress in order, and only under the token of this call', async () => {
    const { told, events } = listen();
    await run('progress', { steps: 3 }, { events, meta: { progressToken: 'mine' } });
    expect(told).toEqual(
      [1, 2, 3].map((progress) => ({
        method: 'notifications/progress',
        params: { progressToken: 'mine', progress, total: 3 },
      })),
    );
  });

  it('logs as much as the client last asked for, though it has just been started', async () => {
    const { told, events } = listen();
    expect(readValue(await run('log', {}, { events, logLevel: 'warning' }))).toBe('warning');
    expect(told).toEqual([
      { method: 'notifications/message', params: { level: 'warning', data: 'as you wish' } },
    ]);
    expect(readValue(await run('log'))).toBeNull();
  });

  it.each([
    ['sampling/createMessage', 'sampling'],
    ['elicitation/create', 'elicitation'],
    ['roots/list', 'roots'],
  ])('may ask its client for %s where both sides offer it', async (method, capability) => {
    const asked: unknown[] = [];
    const { events } = listen({
      ask: async (message) => {
        asked.push(message);
        return { result: { fine: true } };
      },
    });
    const given = { method, params: { of: 'you' } };
    const answer = await run('ask', given, { events, client: client('2025-11-25', { [capability]: {} }) });
    expect(readValue(answer)).toEqual({ jsonrpc: '2.0', id: 'ask-1', result: { fine: true } });
    expect(asked).toEqual([given]);

    const unheard = { error: { code: -32601 } };
    expect(readValue(await run('ask', given, { events, client: client('2025-11-25') }))).toMatchObject(
      unheard,
    );
    const mute = { client: client('2025-11-25', { [capability]: {} }) };
    expect(readValue(await run('ask', given, mute))).toMatchObject(unheard);
    const hello = readValue(await run('hello', {}, mute));
    expect(hello).toMatchObject({ capabilities: {} });
    expect(asked).toHaveLength(1);
  });

  it('hears why its client will not answer, and goes on when the client could not be asked', async () => {
    const asking = { client: client('2025-11-25', { roots: {} }) };
    const error = { code: -1, message: 'not now' };
    const refused = await run(
      'ask',
      { method: 'roots/list' },
      { ...asking, ...listen({ ask: async () => ({ error }) }) },
    );
    expect(readValue(refused)).toMatchObject({ error });
    const broken = listen({ ask: () => Promise.reject(new Error('gone')) });
    expect(readValue(await run('ask', { method: 'roots/list' }, { ...asking, ...broken }))).toMatchObject({
      error: { code: -32603 },
    });
  });

  it('may withdraw what it asked, and gets no answer to it', async () => {
    let withdrawn: AbortSignal | undefined;
    const { events } = listen({
      ask: (_, signal) => {
        withdrawn = signal;
        return new Promise((resolve) => signal.addEventListener('abort', () => resolve({ result: {} })));
      },
    });
    const outcome = await run('withdraw', {}, { events, client: client('2025-11-25', { roots: {} }) });
    expect(readValue(outcome)).toEqual({ jsonrpc: '2.0', id: 'ask-1', result: {} });
    expect(withdrawn?.aborted).toBe(true);
  });

  it('may not ask two questions with one id', async () => {
    const { events } = listen({ ask: () => new Promise(() => {}) });
    const outcome = await run('ask_thrice', {}, { events, client: client('2025-11-25', { roots: {} }) });
    expect(outcome).toMatchObject({ reason: 'protocol', detail: expect.stringMatching(/one id/) });
  });

  it('is told that its client left, and may end by itself', async () => {
    const leaving = new AbortController();
    const { events } = listen({ notify: () => leaving.abort() });
    const outcome = await run('wait', {}, { events }, leaving.signal);
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'cancelled' });
    expect(await jails.at(-1)?.exit).toMatchObject({ code: 42 });
  });

  it('that floods its client with notifications is heard a thousand times and delivers', async () => {
    const { told, events } = listen();
    expect(readValue(await run('flood', { count: 5000, size: 10 }, { events }))).toBe('done');
    expect(told).toHaveLength(1000);
    expect(told.map(({ params }) => params.number)).toEqual(Array.from({ length: 1000 }, (_, n) => n));
  });

  it('that floods beyond its output budget is ended', async () => {
    const outcome = await run('flood', { count: 200, size: 10_000 }, { events: listen().events });
    expect(outcome).toMatchObject({ reason: 'output-too-large' });
  });

  it('cannot say more than 64 KB in one notification', async () => {
    const { told, events } = listen();
    expect(readValue(await run('flood', { count: 2, size: 70_000 }, { events }))).toBe('done');
    expect(told).toEqual([]);
  });

  it('is not blamed for a listener that fails', async () => {
    const { events } = listen({
      notify: () => {
        throw new Error('the client is gone');
      },
    });
    expect(readValue(await run('flood', { count: 3, size: 1 }, { events }))).toBe('done');
  });
});

describe('any other request', () => {
  const ask = (method: string, params: { [key: string]: Json }, code = full) =>
    execution.exchange({ server: hosted(code), request: { method, params } }, never);

  it('is answered as the server answers it', async () => {
    expect(await ask('resources/read', { uri: 'memo://1' })).toEqual({
      kind: 'result',
      result: { contents: [{ uri: 'memo://1', text: 'remember' }] },
      runMs: expect.any(Number),
    });
  });

  it("brings the server's error with its code and data", async () => {
    expect(await ask('resources/read', { uri: 'memo://2' })).toEqual({
      kind: 'error',
      code: -32002,
      message: 'Resource not found',
      data: { uri: 'memo://2' },
      runMs: expect.any(Number),
    });
  });

  it('of a server that breaks is a failure and no throw', async () => {
    const code = codeOf([], { 'server.py': 'raise SystemExit(3)' });
    expect(await ask('prompts/list', {}, code)).toMatchObject({ kind: 'failed', reason: 'crashed' });
  });
});

describe('a hosted server of 2026-07-28 only', () => {
  const modern = client('2026-07-28', { elicitation: { form: {} } });

  it('is asked in its own era, each request saying who asks', async () => {
    const { events } = listen({ needInput: () => {} });
    const given = {
      code: stateless,
      client: modern,
      events,
      meta: { progressToken: 5 },
      logLevel: 'info',
    } as const;
    const seen = structured(await run('meta', {}, given));
    expect(seen?.meta).toEqual({
      progressToken: 5,
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': { elicitation: { form: {} } },
      'io.modelcontextprotocol/clientInfo': { name: 'tester', version: '7' },
      'io.modelcontextprotocol/logLevel': 'info',
    });
  });

  it('needs no handshake once it is known', async () => {
    const fresh = codeOf(['mcp_stateless.py'], { 'other.py': '' }, 'mcp_stateless.py');
    const hear = async () => structured(await run('meta', {}, { code: fresh, client: modern }))?.heard;
    expect([await hear(), await hear()]).toEqual([['server/discover', 'tools/call'], ['tools/call']]);
  });

  it('serves a client of the older era that never heard of it', async () => {
    const older = { code: stateless, client: client('2025-06-18') };
    expect(structured(await run('meta', {}, older))?.meta).toMatchObject({
      'io.modelcontextprotocol/protocolVersion': '2026-07-28',
      'io.modelcontextprotocol/clientCapabilities': {},
    });
  });

  it('may answer that it needs something of its caller, who answers with the next call', async () => {
    const needed: unknown[] = [];
    const { events } = listen({ needInput: (result) => needed.push(result) });
    const asking = { code: stateless, client: modern, events };
    const outcome = await run('confirm', {}, asking);
    expect(outcome).toMatchObject({ kind: 'failed', reason: 'input-required' });
    expect(needed).toMatchObject([
      { resultType: 'input_required', requestState: 's1', inputRequests: { sure: {} } },
    ]);
    const further = { inputResponses: { sure: { action: 'accept' } }, requestState: 's1' };
    expect(structured(await run('confirm', {}, { ...asking, further }))).toEqual({
      given: { sure: { action: 'accept' } },
      state: 's1',
    });
  });

  it('is told that it can ask nothing of a caller who cannot be asked', async () => {
    const outcome = await run('confirm', {}, { code: stateless, client: modern, events: listen().events });
    expect(outcome).toMatchObject({ reason: 'tool-error', detail: 'elicitation is needed' });
  });

  it('may not ask in more than 16 KB', async () => {
    const needed: unknown[] = [];
    const { events } = listen({ needInput: (result) => needed.push(result) });
    const outcome = await run('confirm', { marks: 20_000 }, { code: stateless, client: modern, events });
    expect([outcome, needed]).toMatchObject([{ reason: 'protocol' }, []]);
  });

  it('shows its face when it is published', async () => {
    expect(await execution.inspect({ server: hosted(stateless) }, never)).toMatchObject({
      kind: 'listed',
      tools: [{ name: 'meta' }, { name: 'confirm' }],
      face: {
        capabilities: { tools: {} },
        info: { name: 'stateless', version: '2' },
        instructions: 'Say who you are.',
      },
    });
  });
});

describe('a server that cannot bear a question of the newer era', () => {
  const CRANKY = (onUnknown: string) => `
import json, sys, time
for line in sys.stdin:
    request = json.loads(line)
    if request["method"] == "initialize":
        result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "c", "version": "1"}}
    elif request["method"] == "tools/call":
        result = {"content": [], "structuredContent": {"value": "fine"}}
    elif "id" not in request:
        continue
    else:
        ${onUnknown}
    print(json.dumps({"jsonrpc": "2.0", "id": request["id"], "result": result}), flush=True)
`;
  it.each([
    ['exits', 'sys.exit(1)'],
    ['says nothing', 'continue'],
    ['babbles', 'print("what?", flush=True); continue'],
  ])('%s, and serves a client of that era all the same', async (_, onUnknown) => {
    const code = codeOf([], { 'server.py': CRANKY(onUnknown) });
    expect(readValue(await run('any', {}, { code, client: client('2026-07-28') }))).toBe('fine');
    const before = jails.length;
    expect(readValue(await run('any', {}, { code, client: client('2026-07-28') }))).toBe('fine');
    expect(jails.length - before).toBe(1);
  });
});
