import {
  Client as ClientV2,
  StreamableHTTPClientTransport as TransportV2,
} from '@modelcontextprotocol/client';
import { Client as ClientV1 } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as TransportV1 } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
} from '@modelcontextprotocol/sdk/types.js';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { publishEverything } from './mcp-fixtures.ts';
import { balanceOf, bearer, type Surface, startSurface } from './surface.ts';

let surface: Surface;
let server: Awaited<ReturnType<typeof publishEverything>>;

beforeAll(async () => {
  surface = await startSurface();
  server = await publishEverything(surface.gateway);
});
afterAll(() => surface.close());

const INFO = { name: 'tests', version: '1' };

async function connectV1(headers: Record<string, string> = {}): Promise<ClientV1> {
  const capabilities = { sampling: {}, elicitation: {}, roots: {} };
  const client = new ClientV1(INFO, { capabilities });
  client.setRequestHandler(CreateMessageRequestSchema, async ({ params }) => {
    const [question] = params.messages;
    const asked = question && !Array.isArray(question.content) && question.content.type === 'text';
    const text = `said: ${asked && 'text' in question.content ? question.content.text : ''}`;
    return { role: 'assistant', model: 'none', content: { type: 'text', text } };
  });
  client.setRequestHandler(ElicitRequestSchema, async () => ({
    action: 'accept',
    content: { username: 'ada', email: 'ada@example.com' },
  }));
  client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: 'file:///here' }] }));
  await client.connect(new TransportV1(new URL(server.endpoint), { requestInit: { headers } }));
  return client;
}

async function connectV2(headers: Record<string, string> = {}): Promise<ClientV2> {
  const client = new ClientV2(INFO, { versionNegotiation: { mode: { pin: '2026-07-28' } } });
  await client.connect(new TransportV2(new URL(server.endpoint), { requestInit: { headers } }));
  return client;
}

test('a client of the first SDK lists and calls tools, reads resources and gets prompts', async () => {
  const client = await connectV1();
  expect(client.getServerVersion()).toMatchObject({ name: 'everything', version: '1.0.0' });
  expect(client.getInstructions()).toBe('Everything, for tests.');
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain('test_simple_text');
  expect(await client.callTool({ name: 'test_simple_text' })).toMatchObject({
    content: [{ type: 'text', text: 'This is a simple text response for testing.' }],
  });
  expect((await client.listResources()).resources).toHaveLength(3);
  expect((await client.listResourceTemplates()).resourceTemplates).toHaveLength(1);
  expect(await client.readResource({ uri: 'test://template/7/data' })).toMatchObject({
    contents: [{ mimeType: 'application/json' }],
  });
  expect((await client.listPrompts()).prompts).toHaveLength(5);
  const given = { arg1: 'a', arg2: 'b' };
  const prompt = await client.getPrompt({ name: 'test_prompt_with_arguments', arguments: given });
  expect(prompt.messages[0]?.content).toMatchObject({
    text: "Prompt with arguments: arg1='a', arg2='b'",
  });
  const completed = await client.complete({
    ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' },
    argument: { name: 'arg1', value: 'par' },
  });
  expect(completed.completion.values).toEqual(['paris', 'park', 'party']);
  await client.ping();
  await client.close();
});

test('a client of the second SDK does the same without a handshake', async () => {
  const client = await connectV2();
  expect(client.getServerVersion()).toMatchObject({ name: 'everything', version: '1.0.0' });
  const { tools } = await client.listTools();
  expect(tools.map(({ name }) => name)).toContain('test_simple_text');
  expect(await client.callTool({ name: 'test_simple_text' })).toMatchObject({
    content: [{ type: 'text', text: 'This is a simple text response for testing.' }],
  });
  expect((await client.listResources()).resources).toHaveLength(3);
  expect(await client.readResource({ uri: 'test://static-text' })).toMatchObject({
    contents: [{ text: 'This is the content of the static text resource.' }],
  });
  expect((await client.listPrompts()).prompts).toHaveLength(5);
  const prompt = await client.getPrompt({ name: 'test_simple_prompt' });
  expect(prompt.messages).toHaveLength(1);
  await client.close();
});

test('a key in the usual header pays a call of either SDK, and the answer says what it cost', async () => {
  const key = await surface.gateway.mint(500);
  for (const [connect, left] of [
    [connectV1, 250],
    [connectV2, 0],
  ] as const) {
    const client = await connect(bearer(key));
    const result = await client.callTool({ name: 'echo', arguments: { text: 'grüße' } });
    expect(result).toMatchObject({
      structuredContent: { text: 'grüße' },
      _meta: { 'millicent/charged-mcents': 250, 'millicent/balance-mcents': left },
    });
    await client.close();
  }
  expect(await balanceOf(surface.gateway, key)).toBe(0);
});

test('progress reaches the client while a call runs, free or paid by a key', async () => {
  const key = await surface.gateway.mint(500);
  for (const headers of [bearer(key)]) {
    const client = await connectV1(headers);
    const seen: number[] = [];
    const options = { onprogress: ({ progress }: { progress: number }) => seen.push(progress) };
    await client.callTool({ name: 'test_tool_with_progress' }, undefined, options);
    expect(seen).toEqual([0, 50, 100]);
    await client.close();
  }
  const client = await connectV2(bearer(key));
  const seen: number[] = [];
  const onprogress = ({ progress }: { progress: number }) => seen.push(progress);
  await client.callTool({ name: 'test_tool_with_progress' }, { onprogress });
  expect(seen).toEqual([0, 50, 100]);
  await client.close();
});

test('a hosted server asks its client for sampling, a form and roots, and gets the answers', async () => {
  const key = await surface.gateway.mint(250);
  const client = await connectV1(bearer(key));
  const sampled = await client.callTool({ name: 'test_sampling', arguments: { prompt: 'hello' } });
  expect(sampled.content).toMatchObject([{ text: 'LLM response: said: hello' }]);
  const filled = await client.callTool({ name: 'test_elicitation', arguments: { message: 'Who?' } });
  expect(filled.content).toMatchObject([{ text: expect.stringContaining('ada@example.com') }]);
  const roots = await client.callTool({ name: 'test_roots' });
  expect(roots.content).toMatchObject([{ text: 'file:///here' }]);
  await client.close();
});

test('a client that takes back a free call stops it, and a paid one is delivered and charged all the same', async () => {
  const key = await surface.gateway.mint(250);
  const client = await connectV1(bearer(key));
  for (const name of ['sleep', 'test_tool_with_progress']) {
    const cancel = new AbortController();
    const calling = client.callTool({ name, arguments: { seconds: 3 } }, undefined, {
      signal: cancel.signal,
    });
    setTimeout(() => cancel.abort('enough'), 100);
    await expect(calling).rejects.toThrow();
  }
  const states = async () => {
    const response = await surface.gateway.fetch('/v1/calls', { headers: bearer(key) });
    const { calls } = (await response.json()) as { calls: { state: string }[] };
    return calls.map(({ state }) => state);
  };
  await expect.poll(states, { timeout: 5_000 }).toEqual(['captured']);
  expect(await balanceOf(surface.gateway, key)).toBe(0);
  await client.close();
});
