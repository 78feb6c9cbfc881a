/** Runs in the build jail: npm installs what was locked, and every file of it goes out over stdout. */

import { once } from 'node:events';
import { closeSync, copyFileSync, mkdirSync, openSync, readdirSync, readFileSync, readSync } from 'node:fs';
import { Worker } from 'node:worker_threads';

const PROJECT = '/tmp/project';
const CHUNK_BYTES = 1 << 20;
const END = 0xffffffff;
/** npm's own notes and its links to programs are not part of a layer. */
const LEFT_OUT = new Set(['.bin', '.package-lock.json', '.cache']);

async function write(bytes) {
  if (!process.stdout.write(bytes)) await once(process.stdout, 'drain');
}

function frame(number, size) {
  const bytes = Buffer.alloc(12);
  bytes.writeUInt32BE(number, 0);
  bytes.writeBigUInt64BE(BigInt(size), 4);
  return write(bytes);
}

async function send(folder, prefix) {
  for (const entry of readdirSync(folder, { withFileTypes: true })) {
    const name = `${folder}/${entry.name}`;
    const path = `${prefix}/${entry.name}`;
    if (LEFT_OUT.has(entry.name) && (entry.name === '.bin' || folder === `${PROJECT}/node_modules`)) continue;
    if (entry.isDirectory()) await send(name, path);
    else if (entry.isFile()) await sendFile(name, Buffer.from(path));
  }
}

async function sendFile(name, path) {
  const descriptor = openSync(name, 'r');
  const pieces = [];
  for (;;) {
    const piece = Buffer.allocUnsafe(CHUNK_BYTES);
    const length = readSync(descriptor, piece, 0, CHUNK_BYTES, null);
    if (length === 0) break;
    pieces.push(piece.subarray(0, length));
  }
  closeSync(descriptor);
  await frame(
    path.length,
    pieces.reduce((sum, { length }) => sum + length, 0),
  );
  await write(path);
  for (const piece of pieces) await write(piece);
}

/** npm ends its process when it is done; in a thread of its own it ends only that. */
async function install(registry) {
  const options = [
    '--ignore-scripts',
    '--omit=dev',
    '--no-audit',
    '--no-fund',
    '--no-bin-links',
    '--no-color',
  ];
  const network = [
    `--registry=${registry}`,
    '--https-proxy=http://127.0.0.1:3128',
    '--cafile=/mcp/authorities.pem',
  ];
  const quiet = ['--no-progress', '--no-update-notifier', '--cache=/tmp/npm', `--prefix=${PROJECT}`];
  const bounds = [
    '--maxsockets=8',
    '--fetch-retries=2',
    '--fetch-retry-mintimeout=500',
    '--fetch-retry-maxtimeout=2000',
    '--fetch-timeout=20000',
    '--logs-max=0',
  ];
  const worker = new Worker('/mcp/npm/bin/npm-cli.js', {
    argv: ['ci', ...options, ...network, ...quiet, ...bounds],
    env: {
      HOME: '/tmp',
      PATH: '/usr/bin',
      npm_config_userconfig: '/tmp/no-user',
      npm_config_globalconfig: '/tmp/no-global',
    },
    stdout: true,
    stderr: true,
  });
  worker.stdout.pipe(process.stderr, { end: false });
  worker.stderr.pipe(process.stderr, { end: false });
  worker.on('error', (error) => console.error(error));
  const [code] = await once(worker, 'exit');
  return code;
}

mkdirSync(PROJECT);
for (const name of ['package.json', 'package-lock.json']) copyFileSync(`/mcp/${name}`, `${PROJECT}/${name}`);
const code = await install(readFileSync('/mcp/index.txt', 'utf8'));
if (code === 0) {
  mkdirSync(`${PROJECT}/node_modules`, { recursive: true });
  await send(`${PROJECT}/node_modules`, 'node_modules');
}
await frame(END, code);
process.stdout.end(() => process.exit(0));
