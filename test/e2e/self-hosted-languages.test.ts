import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway } from '../harness/gateway.ts';
import { buildGo, requireGo } from '../harness/go.ts';
import { requirePython } from '../harness/python-cryptography.ts';
import { jsonBody } from './fixtures.ts';
import { listOwn, startOwn } from './own-servers.ts';
import { bearer, readBody } from './surface.ts';

const SDK = join(import.meta.dirname, '../../src/sdk');
const HERE = join(import.meta.dirname, 'own');
const TSX = import.meta.resolve('tsx');
const TYPES = { 'content-type': 'application/json', accept: 'application/json, text/event-stream' };

let database: TestDatabase;
let gateway: TestGateway;
let folder: string;
/** Beside the packages that the program imports. */
const PROGRAM = join(SDK, `server/.own-server-${process.pid}.ts`);
const children: ChildProcess[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'millicent-own-'));
  database = await createTestDatabase({ poolMax: 4 });
  gateway = await startTestGateway({ database, env: { SANDBOX: 'none', REMOTE_ALLOW_LOOPBACK: 'yes' } });
});
afterEach(async () => {
  for (const child of children.splice(0)) {
    const ended = once(child, 'close');
    child.kill();
    await ended;
  }
});
afterAll(async () => {
  await gateway.close();
  await database.close();
  rmSync(folder, { recursive: true, force: true });
  rmSync(PROGRAM, { force: true });
});

/** The program that a library's page shows. */
function readSnippet(library: string, language: string): string {
  const page = readFileSync(join(SDK, library, 'README.md'), 'utf8');
  const [, program = ''] = new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, 's').exec(page) ?? [];
  if (program === '') throw new Error(`the page of ${library} shows no program in ${language}`);
  return program;
}

type Settings = { GATEWAY: string; SERVER_ID: string; PORT: string };

function start(command: string, args: string[], settings: Settings, more: Record<string, string> = {}): void {
  const env = { ...process.env, ...settings, ...more };
  children.push(spawn(command, args, { env, stdio: ['ignore', 'ignore', 'inherit'] }));
}

const LANGUAGES: [language: string, start: (settings: Settings) => void][] = [
  [
    'TypeScript',
    (settings) => {
      writeFileSync(PROGRAM, readSnippet('server', 'ts'));
      start(process.execPath, ['--import', TSX, PROGRAM], settings);
    },
  ],
  [
    'Python',
    (settings) => {
      writeFileSync(join(folder, 'own_server.py'), readSnippet('python', 'python'));
      const PYTHONPATH = [folder, join(SDK, 'python')].join(':');
      start(requirePython(), [join(HERE, 'main.py')], settings, { PYTHONPATH, PYTHONDONTWRITEBYTECODE: '1' });
    },
  ],
  [
    'Go',
    (settings) => {
      const why = requireGo();
      if (why !== undefined) throw new Error(why);
      const imports = 'package main\n\nimport (\n\t"net/http"\n\t"os"\n\n\t"millicent/tokens"\n)\n\n';
      writeFileSync(join(folder, 'own_server.go'), imports + readSnippet('go', 'go'));
      writeFileSync(join(folder, 'main.go'), readFileSync(join(HERE, 'main.go.txt')));
      const replace = `replace millicent/tokens => ${join(SDK, 'go')}`;
      const needs = `module own\n\ngo 1.19\n\nrequire millicent/tokens v0.0.0\n\n${replace}\n`;
      writeFileSync(join(folder, 'go.mod'), needs);
      const program = buildGo(folder);
      process.once('exit', program.remove);
      start(program.path, [], settings);
    },
  ],
];

test.each(LANGUAGES)(
  'a server that begins as the page for %s says serves the gateway and nobody else',
  async (_, run) => {
    const port = await findPort();
    const backend = `http://127.0.0.1:${port}/mcp`;
    const sent: { headers: Record<string, string>; body: Buffer }[] = [];
    // What stands in front of many servers: it serves the challenge and passes everything else on.
    const own = await startOwn(async (request, response, body) => {
      const headers = { ...TYPES, authorization: request.headers.authorization ?? '' };
      sent.push({ headers, body });
      const answer = await fetch(backend, { method: 'POST', headers, body: new Uint8Array(body) });
      response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
      response.end(await answer.text());
    });
    const pricing = { model: 'per_call', amount_mcents: 100 };
    const { call } = await listOwn(gateway, own, {
      change: { pricing },
      async onPromise(id) {
        run({ GATEWAY: gateway.url, SERVER_ID: id, PORT: String(port) });
        const isUp = () =>
          fetch(backend, { method: 'POST', headers: TYPES, body: '{}' }).then(toStatus, () => 0);
        await expect.poll(isUp, { timeout: 30_000 }).toBe(401);
      },
    });
    const keys = [await gateway.mint(1_000), await gateway.mint(1_000)];
    const whoami = async (key = '') => {
      const body = await readBody(
        await gateway.fetch(call, jsonBody({ tool: 'whoami', arguments: {} }, bearer(key))),
      );
      expect(body).toMatchObject({ ok: true, charged_mcents: 100 });
      return (body.result.content[0] as { text: string }).text;
    };
    const [one, again, other] = [await whoami(keys[0]), await whoami(keys[0]), await whoami(keys[1])];
    expect(one).toMatch(/^payer:/);
    expect([again, other !== one]).toEqual([one, true]);
    const { headers, body } = sent.at(-1) ?? { headers: {}, body: Buffer.alloc(0) };
    const repeat = (bytes: Buffer) =>
      fetch(backend, { method: 'POST', headers, body: new Uint8Array(bytes) }).then(toStatus);
    expect(await repeat(body)).toBe(401);
    expect(await repeat(Buffer.concat([body, Buffer.from(' ')]))).toBe(401);
    await own.close();
  },
  120_000,
);

const toStatus = ({ status }: Response) => status;

/** One that was free a moment ago. */
async function findPort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  // It listens on TCP, so its address is one.
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
