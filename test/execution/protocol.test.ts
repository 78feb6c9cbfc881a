import fc from 'fast-check';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import type { Code, Limits } from '../../src/execution/index.ts';
import { createLineSplitter, readJsonLine } from '../../src/execution/json-lines.ts';
import {
  call,
  codeOf,
  findLastingTraces,
  hosted,
  NO_TRACES,
  never,
  testBackend,
  testExecution,
} from './harness.ts';

const execution = testExecution(testBackend());
afterEach(async () => expect(await findLastingTraces()).toEqual(NO_TRACES));
afterAll(() => execution.close());

/** A server whose answer to each method is a Python expression of `request` that yields the bytes to write. */
function scripted(answers: { initialize?: string; list?: string; call?: string; start?: string }): Code {
  return codeOf(
    [],
    {
      'server.py': `
import json, sys

def line(message):
    return json.dumps({'jsonrpc': '2.0', **message}).encode() + b'\\n'

def result(request, value):
    return line({'id': request['id'], 'result': value})

def text(request, value):
    return result(request, {'content': [{'type': 'text', 'text': value}]})

def read():
    return json.loads(sys.stdin.readline())

def write(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()

GREETING = {'protocolVersion': '2024-11-05', 'capabilities': {}, 'serverInfo': {'name': 'x', 'version': '1'}}
TOOL = {'name': 'tool', 'inputSchema': {'type': 'object'}}
ANSWERS = {
    'initialize': lambda request: ${answers.initialize ?? 'result(request, GREETING)'},
    'tools/list': lambda request: ${answers.list ?? "result(request, {'tools': [TOOL]})"},
    'tools/call': lambda request: ${answers.call ?? "text(request, 'fine')"},
}
${answers.start ?? ''}
while True:
    request = read()
    if 'id' in request and 'method' in request:
        write(ANSWERS[request['method']](request))
`,
    },
    'server.py',
  );
}

function callScripted(answers: Parameters<typeof scripted>[0], limits: Partial<Limits> = {}) {
  return call(execution, {
    code: scripted(answers),
    toolName: 'tool',
    limits: { runTimeoutMs: 3000, ...limits },
  });
}

describe('abuse of the protocol is an outcome, and says what was wrong:', () => {
  it.each([
    ['wrong id', { call: "line({'id': 99, 'result': {'content': []}})" }, /not asked/],
    ['an id of another type', { call: "line({'id': '2', 'result': {'content': []}})" }, /not asked/],
    ['an answer before any question', { start: "write(line({'id': 1, 'result': GREETING}) * 2)" }, /twice/],
    ['second reply', { call: "text(request, 'one') + text(request, 'two')" }, /twice/],
    [
      'deep JSON',
      { call: 'b\'{"jsonrpc":"2.0","id":2,"result":\' + b\'[\' * 200000 + b\']\' * 200000 + b\'}\\n\'' },
      /deep/,
    ],
    [
      '__proto__',
      { call: "line({'id': request['id'], 'result': {'content': [], '__proto__': {'isError': False}}})" },
      /__proto__/,
    ],
    [
      'an escaped __proto__',
      { call: "text(request, 'x').replace(b'\"text\":', b'\"\\\\u005f_proto__\":')" },
      /__proto__/,
    ],
    [
      'a print to stdout',
      { call: "b'working on it\\n' + text(request, 'x')" },
      /not JSON.*stderr.*working on it/,
    ],
    ['a batch', { call: "b'[' + text(request, 'x').strip() + b']\\n'" }, /one JSON-RPC message/],
    ['bytes that are not UTF-8', { call: "text(request, 'x').replace(b'x', b'\\xff\\xfe')" }, /UTF-8/],
    ['another JSON-RPC', { call: "text(request, 'x').replace(b'2.0', b'1.0')" }, /JSON-RPC 2.0/],
    ['a result and an error', { call: "line({'id': request['id'], 'result': {}, 'error': {}})" }, /both/],
    ['neither result nor error', { call: "line({'id': request['id']})" }, /both/],
    [
      'an initialize that fails',
      { initialize: "line({'id': 1, 'error': {'code': 1, 'message': 'not today'}})" },
      /not today/,
    ],
    ['an initialize without a version', { initialize: 'result(request, {})' }, /protocolVersion/],
    ['content that is no list', { call: "result(request, {'content': 'x'})" }, /no list/],
    ['a content block without a type', { call: "result(request, {'content': [{}]})" }, /without a type/],
    [
      'structuredContent that is no object',
      { call: "result(request, {'structuredContent': [1]})" },
      /no object/,
    ],
    ['endless questions', { call: "line({'id': 'q', 'method': 'ping'}) * 100" }, /too much/],
    ['a request without a valid id', { call: "line({'id': {}, 'method': 'ping'})" }, /valid id/],
  ] as const)('%s', async (_name, answers, detail) => {
    const outcome = await callScripted(answers);
    expect(outcome).toMatchObject({
      kind: 'failed',
      reason: 'protocol',
      detail: expect.stringMatching(detail),
    });
  });

  it('an id that only looks like ours in a language of loose types', async () => {
    expect(
      await callScripted({ call: "text(request, 'x').replace(b'\"id\": 2', b'\"id\": [2]')" }),
    ).toMatchObject({
      kind: 'failed',
      reason: 'protocol',
    });
  });
});

describe('a well-behaved server may', () => {
  it('log and notify as it likes, and ask for a ping', async () => {
    const outcome = await callScripted({
      call: `(
        write(line({'method': 'notifications/message', 'params': {'level': 'info', 'data': 'hello'}}) + b'\\n'),
        write(line({'id': 'mine', 'method': 'ping'})),
        text(request, json.dumps(read())))[-1]`,
    });
    const answer = JSON.stringify({ jsonrpc: '2.0', id: 'mine', result: {} });
    expect(outcome).toMatchObject({ kind: 'delivered' });
    if (outcome.kind === 'delivered') expect(firstText(outcome.result.content)).toEqual(JSON.parse(answer));
  });

  it('ask for sampling, and is refused with an error it can handle', async () => {
    const outcome = await callScripted({
      call: "(write(line({'id': 7, 'method': 'sampling/createMessage', 'params': {}})), text(request, json.dumps(read())))[-1]",
    });
    expect(outcome).toMatchObject({ kind: 'delivered' });
    if (outcome.kind === 'delivered')
      expect(firstText(outcome.result.content)).toMatchObject({ id: 7, error: { code: -32601 } });
  });

  it('write its answer in pieces that tear characters apart', async () => {
    const outcome = await callScripted({
      call: "[write(bytes([byte])) for byte in json.dumps({'jsonrpc': '2.0', 'id': 2, 'result': {'content': [{'type': 'text', 'text': 'žluťoučký 🐎'}]}}, ensure_ascii=False).encode()] and b'\\n'",
    });
    expect(outcome).toMatchObject({ kind: 'delivered', result: { content: [{ text: 'žluťoučký 🐎' }] } });
  });

  it('say the word __proto__ in a text', async () => {
    expect(await callScripted({ call: "text(request, 'beware of __proto__')" })).toMatchObject({
      kind: 'delivered',
    });
  });

  it('answer with almost all of its output budget', async () => {
    expect(await callScripted({ call: "text(request, 'x' * 1000000)" })).toMatchObject({ kind: 'delivered' });
    expect(await callScripted({ call: "text(request, 'x' * 1100000)" })).toMatchObject({
      reason: 'output-too-large',
    });
  });

  it('be given a megabyte of arguments', async () => {
    const code = scripted({ call: "text(request, str(len(request['params']['arguments']['text'])))" });
    const text = 'y'.repeat(1_000_000);
    const outcome = await call(execution, { code, toolName: 'tool', arguments: { text } });
    expect(outcome).toMatchObject({ kind: 'delivered', result: { content: [{ text: '1000000' }] } });
  });
});

describe('publishing reads what a server offers, and refuses', () => {
  const inspect = (answers: Parameters<typeof scripted>[0]) =>
    execution.inspect({ server: hosted(scripted(answers)) }, never);

  it.each([
    ['no tool', "{'tools': []}", /no tool/],
    ['a list that is none', "{'tools': {}}", /list of tools/],
    ['the same name twice', "{'tools': [TOOL, TOOL]}", /twice/],
    ['a name with blanks', "{'tools': [{**TOOL, 'name': 'rm -rf /'}]}", /tool name/],
    ['an empty name', "{'tools': [{**TOOL, 'name': ''}]}", /tool name/],
    ['a name of 129 characters', "{'tools': [{**TOOL, 'name': 'x' * 129}]}", /tool name/],
    ['129 tools', "{'tools': [{**TOOL, 'name': str(n)} for n in range(129)]}", /128/],
    ['a tool without a schema', "{'tools': [{'name': 'x'}]}", /inputSchema/],
    ['a schema of another type', "{'tools': [{**TOOL, 'inputSchema': {'type': 'string'}}]}", /type.*object/],
    [
      'a schema that does not compile',
      "{'tools': [{**TOOL, 'inputSchema': {'type': 'object', 'properties': {'a': {'type': 'wibble'}}}}]}",
      /JSON Schema/,
    ],
    [
      'a schema from elsewhere',
      "{'tools': [{**TOOL, 'outputSchema': {'type': 'object', '$ref': 'https://example.com/schema'}}]}",
      /outputSchema.*resolve/,
    ],
    ['half a surrogate pair', "{'tools': [{**TOOL, 'description': '\\ud800'}]}", /surrogate/],
    ['a NUL', "{'tools': [{**TOOL, 'title': 'a\\0b'}]}", /NUL/],
    ['pages without end', "{'tools': [], 'nextCursor': 'more'}", /pages/],
  ])('%s', async (_name, list, detail) => {
    const inspection = await inspect({ list: `result(request, ${list})` });
    expect(inspection).toMatchObject({ kind: 'refused', detail: expect.stringMatching(detail) });
  });

  it('a server that does not start, with its own words', async () => {
    const code = codeOf([], { 'server.py': 'import this_is_not_there' });
    const inspection = await execution.inspect({ server: hosted(code) }, never);
    expect(inspection).toMatchObject({
      kind: 'refused',
      detail: expect.stringMatching(/exit code 1/),
      stderr: expect.stringMatching(/ModuleNotFoundError: No module named 'this_is_not_there'/),
    });
  });

  it('and keeps of stderr the last 4 KB, whole characters only', async () => {
    const inspection = await inspect({ start: "sys.stderr.write('ž' * 50000 + 'the end'); sys.exit(3)" });
    if (inspection.kind !== 'refused') throw new Error('accepted');
    expect(Buffer.byteLength(inspection.stderr)).toBeLessThanOrEqual(4096);
    expect(inspection.stderr).toMatch(/^ž+the end$/);
  });

  it('and takes all pages of one that keeps to the rules', async () => {
    const list = `result(request, {
      'tools': [{**TOOL, 'name': 'tool' + request['params'].get('cursor', '0'), 'icons': [], 'description': 'd'}],
      **({} if request['params'].get('cursor') == '2' else {'nextCursor': str(int(request['params'].get('cursor', '0')) + 1)})})`;
    expect(await inspect({ list })).toEqual({
      kind: 'listed',
      tools: ['tool0', 'tool1', 'tool2'].map((name) => ({
        name,
        description: 'd',
        inputSchema: { type: 'object' },
      })),
      face: { capabilities: {}, info: { name: 'x', version: '1' } },
    });
  });
});

describe('lines', () => {
  it('come out the same however the bytes were cut', () => {
    const text = fc.array(fc.string({ unit: 'grapheme' }).map((line) => line.replaceAll('\n', ' ')));
    fc.assert(
      fc.property(text, fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1 }), (lines, sizes) => {
        const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(''));
        const found: string[] = [];
        const splitter = createLineSplitter((line) => found.push(line.toString()));
        for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
          const size = sizes[turn % sizes.length] ?? 1;
          splitter.push(bytes.subarray(at, at + size));
          at += size;
        }
        expect(found).toEqual(lines);
        expect(splitter.pending().bytes).toBe(0);
      }),
    );
  });

  it('never pass on anything but a plain object', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
          fc.json().map((json) => Buffer.from(json)),
        ),
        (line) => {
          const reading = readJsonLine(line);
          if (reading.kind !== 'object') return;
          expect(Object.getPrototypeOf(reading.value)).toBe(Object.prototype);
          expect(JSON.parse(line.toString())).toEqual(reading.value);
        },
      ),
    );
  });
});

function firstText(content: unknown[]): unknown {
  const [block] = content;
  if (typeof block !== 'object' || block === null || !('text' in block)) throw new Error('no text');
  return JSON.parse(String(block.text));
}
