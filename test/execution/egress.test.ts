import { pbkdf2 } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { linkSync, readFileSync, realpathSync, renameSync } from 'node:fs';
import { mkdtemp, readdir, rm, stat, utimes, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import { createServer, type Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { writeArchive } from '../../src/core/archive.ts';
import { sha256Hex } from '../../src/core/bytes.ts';
import { readHostPort } from '../../src/core/host-port.ts';
import { silentLog } from '../../src/core/log.ts';
import { createEgress, type EgressInput, type EgressProxies } from '../../src/execution/egress/egress.ts';
import { createResolver } from '../../src/execution/egress/reach.ts';
import type { EgressUse } from '../../src/execution/egress-port.ts';
import { type Backend, DEFAULT_LIMITS, type Runtime } from '../../src/execution/index.ts';
import { injectCode } from '../../src/execution/inject.ts';
import { awaitReady } from '../../src/execution/ready.ts';
import { TEST_TLS } from '../harness/tls.ts';
import { never, testBackend } from './harness.ts';

const NAMES: Record<string, readonly string[]> = {
  'api.allowed.test': ['127.0.0.1'],
  'other.allowed.test': ['127.0.0.1'],
  'xn--bcher-kva.allowed.test': ['127.0.0.1'],
};

let backend: Backend;
let web: Server;
let port: number;
let workDir: string;
let egress: EgressProxies;
let hits = 0;

beforeAll(async () => {
  backend = testBackend();
  workDir = await mkdtemp(join(tmpdir(), 'egress-'));
  web = createTlsServer({ cert: TEST_TLS.cert, key: TEST_TLS.key }, (asked, answer) => {
    hits += 1;
    asked.resume();
    asked.once('end', () =>
      answer.end(`hello ${asked.headers.host} ${'x'.repeat(Number(asked.headers['x-size'] ?? 0))}`),
    );
  });
  port = await listen(web);
  egress = createEgress({
    log: silentLog,
    workDir,
    resolve: async (name) => NAMES[name] ?? [],
    isAllowedAddress: (address) => address === '127.0.0.1',
  });
});

afterAll(async () => {
  await egress.close();
  await backend.close();
  web.close();
  await rm(workDir, { recursive: true });
});

describe('a tool in a jail', () => {
  const PYTHON_GET = `
import json, os, ssl, sys, urllib.request
context = ssl.create_default_context(cadata=${JSON.stringify(TEST_TLS.cert)})
def get(url):
    try:
        return urllib.request.urlopen(urllib.request.Request(url, headers={"x-size": "10"}), timeout=5, context=context).read().decode()
    except Exception as error:
        return "refused: " + str(error)
`;

  test('reaches the host it declared, by Python, with nothing but the standard library', async () => {
    const { out, use } = await inJail(
      'python',
      `${PYTHON_GET}print(get("https://api.allowed.test:${port}/"))`,
    );
    expect(out).toContain(`hello api.allowed.test:${port} xxxxxxxxxx`);
    expect(use.refused).toEqual([]);
    expect(use.bytesUp).toBeGreaterThan(100);
    expect(use.bytesDown).toBeGreaterThan(100);
  });

  test('reaches it by fetch, by https, and by a socket library that calls tls.connect', async () => {
    const { out, err } = await inJail(
      'node',
      `
import https, { get } from 'node:https';
import { connect } from 'node:tls';
import tls from 'node:tls';
process.env.NODE_TLS_REJECT_UNAUTHORIZED = '0';
const url = 'https://api.allowed.test:${port}/';
console.log('fetch', await (await fetch(url)).text());
console.log('https', await new Promise((resolve, reject) => get(url, (answer) => { answer.setEncoding('utf8'); let all = ''; answer.on('data', (d) => { all += d; }).on('end', () => resolve(all)); }).on('error', reject)));
const agent = new https.Agent({ keepAlive: true });
for (const turn of [1, 2]) console.log('agent', turn, await new Promise((resolve, reject) => https.get(url, { agent }, (answer) => { answer.resume(); answer.on('end', () => resolve(answer.statusCode)); }).on('error', reject)));
console.log('tls', await new Promise((resolve, reject) => { const socket = connect(${port}, 'api.allowed.test', { servername: 'api.allowed.test' }, () => { resolve(socket.getPeerCertificate().subject.CN); socket.destroy(); }); socket.on('error', reject); }));
console.log('refused', await fetch('https://evil.test/').catch((error) => String(error.cause?.message ?? error)));
console.log('proxies', process.env.HTTPS_PROXY);
process.exit();
`,
    );
    expect(err).not.toContain('Error');
    expect(out).toContain(`fetch hello api.allowed.test:${port}`);
    expect(out).toContain(`https hello api.allowed.test:${port}`);
    expect(out).toContain('agent 1 200\nagent 2 200');
    expect(out).toContain('tls Millicent test');
    expect(out).toContain('refused evil.test:443 cannot be reached: The tool did not declare this host.');
  });

  test('reaches it from a binary: the forwarder outlives that the bootstrap becomes another program', async () => {
    // Any program will do; this one reads what it does from stdin.
    const program = readFileSync(realpathSync('/usr/bin/python3'));
    const { out } = await inJail('elf', program, {
      stdin: `${PYTHON_GET}print(get("https://api.allowed.test:${port}/"), os.environ["HTTPS_PROXY"])\n`,
    });
    expect(out).toContain(`hello api.allowed.test:${port}`);
    expect(out).toContain('http://127.0.0.1:3128');
  });

  test('reaches nothing else: no other host, address, metadata service, name server or socket', async () => {
    const before = hits;
    const targets = [
      `https://other.allowed.test:${port}/`,
      'https://api.allowed.test/',
      `https://127.0.0.1:${port}/`,
      `https://2130706433:${port}/`,
      `https://0x7f.1:${port}/`,
      `https://[::1]:${port}/`,
      `https://[::ffff:127.0.0.1]:${port}/`,
      'https://169.254.169.254/latest/meta-data/',
      `http://api.allowed.test:${port}/`,
    ];
    const { out, use } = await inJail(
      'python',
      `${PYTHON_GET}
import socket
answers = {url: get(url) for url in json.loads(${JSON.stringify(JSON.stringify(targets))})}
def attempt(action):
    try:
        action()
        return "worked"
    except OSError as error:
        return "refused: " + str(error)
answers["dns"] = attempt(lambda: socket.getaddrinfo("api.allowed.test", 443))
answers["direct"] = attempt(lambda: socket.create_connection(("127.0.0.1", ${port}), timeout=2))
answers["outside"] = attempt(lambda: socket.create_connection(("1.1.1.1", 443), timeout=2))
answers["datagram"] = attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM).connect(("1.1.1.1", 53)))
print(json.dumps(answers))`,
    );
    const answers: Record<string, string> = JSON.parse(out);
    expect(Object.keys(answers)).toHaveLength(targets.length + 4);
    for (const [target, answer] of Object.entries(answers))
      expect(`${target} ${answer}`).toContain('refused: ');
    expect(hits).toBe(before);
    expect(use.bytesUp + use.bytesDown).toBe(0);
    expect(use.refused).toContain(`other.allowed.test:${port}`);
  });

  test('has no way out and no socket when none was opened for it', async () => {
    const { out } = await inJail(
      'python',
      'import os\nprint(os.path.exists("/run/egress.sock"), sorted(os.environ))',
      {
        hosts: [],
      },
    );
    expect(out).toContain('False');
    expect(out).not.toMatch(/PROXY|EGRESS/);
  });

  test('finds certificate authorities in its root', async () => {
    const { out } = await inJail(
      'python',
      'import ssl\nprint(len(ssl.create_default_context().get_ca_certs()) > 50)',
    );
    expect(out.trim()).toBe('True');
  });
});

describe('an egress proxy', () => {
  test('lets a declared host through by its exact name, whatever the case, the dot at the end or the script', async () => {
    const gate = await egress.openEgress({
      hosts: [`API.allowed.test:${port}`, `bücher.allowed.test:${port}`],
    });
    expect(await connectBy(gate.socketPath, `api.Allowed.TEST.:${port}`)).toBe(200);
    expect(await connectBy(gate.socketPath, `xn--bcher-kva.allowed.test:${port}`)).toBe(200);
    for (const other of [
      'sub.api.allowed.test',
      'allowed.test',
      'api.allowed.test.evil.test',
      'xapi.allowed.test',
    ]) {
      expect(await connectBy(gate.socketPath, `${other}:${port}`)).toBe(403);
    }
    expect(await connectBy(gate.socketPath, 'api.allowed.test')).toBe(403);
    expect((await gate.close()).refused).toHaveLength(5);
  });

  test.each([
    '127.0.0.1',
    '2130706433',
    '0x7f000001',
    '0177.0.0.1',
    '127.1',
    '[::1]',
    '::1',
    '*.example.com',
    'a b',
    '',
    'a.test:0',
    'a.test:65536',
    'user@a.test',
    'a.test/x',
    '１２７.0.0.1',
  ])('cannot be opened for %j', async (host) => {
    expect(readHostPort(host)).toBeUndefined();
    await expect(egress.openEgress({ hosts: [host] })).rejects.toMatchObject({ type: 'invalid-arguments' });
  });

  test.each([
    ['one on this machine', ['127.0.0.1']],
    ['the metadata service', ['169.254.169.254']],
    ['one in a private network', ['10.1.2.3']],
    ['a mapped one', ['::ffff:10.1.2.3']],
    ['a private one among public ones', ['1.1.1.1', '192.168.0.1']],
  ])('refuses a declared host whose addresses are %s', async (_, addresses) => {
    const strict = createEgress({ log: silentLog, workDir, resolve: async () => addresses });
    const gate = await strict.openEgress({ hosts: [`api.allowed.test:${port}`] });
    expect(await connectBy(gate.socketPath, `api.allowed.test:${port}`)).toBe(403);
    expect((await gate.close()).refused).toEqual([`api.allowed.test:${port}`]);
  });

  test('connects to the address it looked at, so that a name which then leads elsewhere does not matter', async () => {
    let lookups = 0;
    const rebinding = createEgress({
      log: silentLog,
      workDir,
      isAllowedAddress: (address) => address === '127.0.0.1',
      // The name is good once, and the metadata service ever after.
      resolve: async () => [++lookups === 1 ? '127.0.0.1' : '169.254.169.254'],
    });
    const gate = await rebinding.openEgress({ hosts: [`api.allowed.test:${port}`] });
    expect(await connectBy(gate.socketPath, `api.allowed.test:${port}`)).toBe(200);
    expect(lookups).toBe(1);
    expect(await connectBy(gate.socketPath, `api.allowed.test:${port}`)).toBe(403);
    await gate.close();
  });

  test('answers CONNECT and nothing else, in small heads that come in time', async () => {
    const gate = await egress.openEgress({ hosts: [`api.allowed.test:${port}`] });
    const plain = await sendRaw(
      gate.socketPath,
      `GET http://api.allowed.test:${port}/ HTTP/1.1\r\nHost: x\r\n\r\n`,
    );
    expect(plain).toMatch(/^HTTP\/1\.1 405 /);
    const large = await sendRaw(
      gate.socketPath,
      `CONNECT api.allowed.test:${port} HTTP/1.1\r\nX: ${'y'.repeat(9000)}\r\n\r\n`,
    );
    expect(large).toMatch(/^HTTP\/1\.1 431 /);
    expect(await sendRaw(gate.socketPath, 'CONNECT ')).toMatch(/^HTTP\/1\.1 408 /);
    await gate.close();
  });

  test('stops at its cap of bytes, up and down', async () => {
    const sink = createServer((socket) => socket.on('error', () => {}).pipe(socket));
    const sinkPort = await listen(sink);
    const gate = await openFor(sinkPort, { bytesMax: 300_000 });
    const { received } = await flood(gate.socketPath, `api.allowed.test:${sinkPort}`, 2_000_000);
    const use = await gate.close();
    expect(use.bytesUp + use.bytesDown).toBeLessThanOrEqual(300_000);
    expect(use.bytesUp + use.bytesDown).toBeGreaterThan(100_000);
    expect(received).toBeLessThanOrEqual(300_000);
    sink.close();
  });

  test('carries no more connections at once than it may', async () => {
    const gate = await openFor(port, { connectionsMax: 2 });
    const held = [await hold(gate.socketPath, port), await hold(gate.socketPath, port)];
    expect(await connectBy(gate.socketPath, `api.allowed.test:${port}`)).toBe(0);
    for (const socket of held) socket.destroy();
    await gate.close();
  });

  test('gives up on a host that does not answer, and on a tunnel through which nothing goes', async () => {
    const slow = createEgress({
      log: silentLog,
      workDir,
      isAllowedAddress: () => true,
      resolve: (name) =>
        name === 'api.allowed.test' ? Promise.resolve(['127.0.0.1']) : new Promise(() => {}),
    });
    const hosts = [`api.allowed.test:${port}`, 'never.allowed.test'];
    const gate = await slow.openEgress({ hosts, limits: { connectTimeoutMs: 200, idleTimeoutMs: 200 } });
    expect(await connectBy(gate.socketPath, 'never.allowed.test:443')).toBe(504);
    const idle = await hold(gate.socketPath, port);
    await new Promise((resolve) => idle.once('close', resolve));
    await gate.close();
  });

  test('asks name servers without the threads that files and hashes need, however slowly they answer', async () => {
    const silent = createSocket('udp4');
    await new Promise<void>((resolve) => silent.bind(0, '127.0.0.1', resolve));
    let asked = 0;
    silent.on('message', () => {
      asked += 1;
    });
    const resolve = createResolver([`127.0.0.1:${silent.address().port}`]);
    const limits = Array.from({ length: 20 }, () => new AbortController());
    const waiting = limits.map(({ signal }, number) => resolve(`slow${number}.test`, signal));
    const startedAt = performance.now();
    await promisify(pbkdf2)('x', 'y', 1, 16, 'sha256');
    expect(performance.now() - startedAt).toBeLessThan(1_000);
    await expect.poll(() => asked).toBeGreaterThanOrEqual(40);
    for (const limit of limits) limit.abort();
    expect(await Promise.all(waiting)).toEqual(waiting.map(() => []));
    silent.close();
  });

  test('ends with its call: every connection, the socket and its file', async () => {
    const gate = await openFor(port, {});
    const held = await hold(gate.socketPath, port);
    const ended = new Promise((resolve) => held.once('close', resolve));
    const [first, second] = await Promise.all([gate.close(), gate.close()]);
    await ended;
    expect(second).toEqual(first);
    await expect(stat(gate.socketPath)).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await connectBy(gate.socketPath, `api.allowed.test:${port}`)).toBe(0);
  });

  test('removes sockets that a gateway left when it died, and no others', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'egress-'));
    const stale = join(folder, `${'a'.repeat(24)}.sock`);
    const dying = createServer();
    await new Promise<void>((resolve) => dying.listen(stale, resolve));
    const living = createServer();
    const kept = join(folder, `${'b'.repeat(24)}.sock`);
    await new Promise<void>((resolve) => living.listen(kept, resolve));
    // libuv removes the file when it closes; a gateway that is killed does not.
    linkSync(stale, `${stale}.copy`);
    await new Promise((resolve) => dying.close(resolve));
    renameSync(`${stale}.copy`, stale);
    await writeFile(join(folder, 'note.txt'), 'not ours to remove');
    const longAgo = new Date(Date.now() - 3_600_000);
    for (const path of [stale, kept]) await utimes(path, longAgo, longAgo);
    const gate = await createEgress({ log: silentLog, workDir: folder }).openEgress({ hosts: ['a.test'] });
    await gate.close();
    expect((await readdir(folder)).sort()).toEqual([`${'b'.repeat(24)}.sock`, 'note.txt']);
    living.close();
    await rm(folder, { recursive: true });
  });
});

type InJail = { stdin?: string; hosts?: readonly string[] };

/** Runs a program in a jail of the real backend, until it ends; what it wrote, and what the proxy saw. */
async function inJail(runtime: Runtime, program: string | Buffer, options: InJail = {}) {
  const hosts = options.hosts ?? [`api.allowed.test:${port}`];
  const gate = hosts.length === 0 ? undefined : await egress.openEgress({ hosts });
  const spec = {
    runtime,
    limits: DEFAULT_LIMITS,
    ...(gate === undefined ? {} : { egressSocket: gate.socketPath }),
  };
  const jail = await backend.acquire(spec, never);
  try {
    await awaitReady(jail, never);
    const entrypoint = { python: 'main.py', node: 'main.mjs', elf: 'main' }[runtime];
    const archive = writeArchive(new Map([[entrypoint, Buffer.from(program)]]));
    const output = Promise.all([text(jail.stdout), text(jail.stderr)]);
    injectCode(jail, { sha256: sha256Hex(archive), runtime, entrypoint, archive });
    jail.stdin.end(options.stdin ?? '');
    const [out, err] = await output;
    const use: EgressUse = (await gate?.close()) ?? { bytesUp: 0, bytesDown: 0, refused: [] };
    return { out, err, use };
  } finally {
    await jail.kill('done');
    await gate?.close();
  }
}

function listen(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

function openFor(hostPort: number, limits: EgressInput['limits'] & {}) {
  return egress.openEgress({ hosts: [`api.allowed.test:${hostPort}`], limits });
}

/** The status of a CONNECT; 0 when the proxy hangs up. */
function connectBy(socketPath: string, authority: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, method: 'CONNECT', path: authority });
    asked.once('connect', (answer, socket) => {
      socket.destroy();
      resolve(answer.statusCode ?? 0);
    });
    asked.once('response', (answer) => resolve(answer.statusCode ?? 0));
    asked.once('error', () => resolve(0));
    asked.end();
  });
}

function hold(socketPath: string, hostPort: number): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method: 'CONNECT', path: `api.allowed.test:${hostPort}` });
    asked.once('connect', (answer, socket) => {
      socket.on('error', () => {}).resume();
      if (answer.statusCode === 200) resolve(socket);
      else reject(new Error(`CONNECT was answered ${answer.statusCode}`));
    });
    asked.once('error', reject).end();
  });
}

function sendRaw(socketPath: string, bytes: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = new Socket();
    let all = '';
    socket.on('data', (chunk: Buffer) => {
      all += chunk.toString('latin1');
    });
    socket.once('error', reject).once('close', () => resolve(all));
    socket.connect(socketPath, () => socket.write(bytes));
  });
}

async function flood(socketPath: string, authority: string, bytes: number): Promise<{ received: number }> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, method: 'CONNECT', path: authority });
    asked.once('error', reject);
    asked.once('connect', (_answer, socket) => {
      let received = 0;
      socket.on('data', (chunk: Buffer) => {
        received += chunk.length;
      });
      socket.on('error', () => {}).once('close', () => resolve({ received }));
      socket.write(Buffer.alloc(bytes));
    });
    asked.end();
  });
}
