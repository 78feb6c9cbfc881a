/**
 * Waits in a jail for one server, and becomes it. It is the jail's first and only program; nothing that comes
 * over stdin before the server is hostile, and everything after it is.
 */
'use strict';

const fs = require('node:fs');
const path = require('node:path');
const Module = require('node:module');

const PRELOADED = [
  ...['assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'events', 'fs/promises', 'http', 'https'],
  ...['net', 'os', 'perf_hooks', 'process', 'querystring', 'readline', 'stream', 'stream/promises'],
  ...['string_decoder', 'timers', 'timers/promises', 'tls', 'tty', 'url', 'util', 'zlib'],
];
const BLOCK = 512;
const EXIT_BROKEN = 96;
const CODE = '/mcp';

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Exactly so many bytes of stdin, and not one more: what follows is the server's. */
function readExactly(count) {
  const bytes = Buffer.allocUnsafe(count);
  let length = 0;
  while (length < count) {
    const read = readSome(bytes, length);
    // Nobody needs this jail: its pool has shrunk, or its gateway is gone.
    if (read === 0) process.exit(0);
    length += read;
  }
  return bytes;
}

function readSome(bytes, offset) {
  for (let pauseMs = 1; ; pauseMs = Math.min(pauseMs * 2, 8)) {
    try {
      return fs.readSync(0, bytes, offset, bytes.length - offset, null);
    } catch (error) {
      if (error.code === 'EOF') return 0;
      if (error.code !== 'EAGAIN') throw error;
      Atomics.wait(sleeper, 0, 0, pauseMs);
    }
  }
}

function field(header, start, end) {
  const nul = header.indexOf(0, start);
  return header.toString('utf8', start, nul < 0 || nul > end ? end : nul);
}

/** Writes the regular files of a canonical ustar archive (the gateway checked its hash); answers their folders. */
function unpack(archive) {
  const folders = new Set([CODE]);
  for (let offset = 0; offset + BLOCK <= archive.length && archive[offset] !== 0; ) {
    const header = archive.subarray(offset, offset + BLOCK);
    const size = Number.parseInt(field(header, 124, 136), 8);
    const file = path.join(CODE, field(header, 345, 500), field(header, 0, 100));
    let folder = path.dirname(file);
    if (!folders.has(folder)) fs.mkdirSync(folder, { recursive: true });
    for (; !folders.has(folder); folder = path.dirname(folder)) folders.add(folder);
    fs.writeFileSync(file, archive.subarray(offset + BLOCK, offset + BLOCK + size), { mode: 0o555 });
    offset += BLOCK + Math.ceil(size / BLOCK) * BLOCK;
  }
  return folders;
}

/** Links every package of the layer that the code does not bring itself to where Node looks for it. */
function linkLayer(layer, folders) {
  const source = `/layers/${layer}/node_modules`;
  const target = `${CODE}/node_modules`;
  if (!fs.existsSync(source)) return;
  if (!folders.has(target)) {
    fs.symlinkSync(source, target);
    return;
  }
  const isThere = (name) => fs.existsSync(`${target}/${name}`);
  for (const name of fs.readdirSync(source)) {
    if (!isThere(name)) fs.symlinkSync(`${source}/${name}`, `${target}/${name}`);
    else if (name.startsWith('@')) {
      for (const inner of fs.readdirSync(`${source}/${name}`)) {
        const scoped = `${name}/${inner}`;
        if (!isThere(scoped)) fs.symlinkSync(`${source}/${scoped}`, `${target}/${scoped}`);
      }
    }
  }
}

function makeReadOnly(folder) {
  try {
    fs.chmodSync(folder, 0o555);
  } catch (error) {
    // A volume of Kubernetes belongs to root; what is in it is ours.
    if (folder !== CODE || error.code !== 'EPERM') throw error;
  }
}

function wait() {
  fs.writeSync(1, 'millicent-ready\n');
  const order = JSON.parse(readExactly(Number.parseInt(readExactly(8).toString(), 16)).toString());
  const archive = readExactly(order.bytes);
  const entry = path.join(CODE, order.entrypoint);
  try {
    const folders = unpack(archive);
    if (order.layer) linkLayer(order.layer, folders);
    for (const folder of folders) makeReadOnly(folder);
  } catch (error) {
    fs.writeSync(2, `the code could not be unpacked: ${error.message}\n`);
    process.exit(EXIT_BROKEN);
  }
  process.argv = [process.argv[0], entry];
  // As `node <entry>` does it: ES module or CommonJS by the file's name and its package.json.
  Module.runMain(entry);
}

for (const name of PRELOADED) require(`node:${name}`);
// The first import prepares the loader of ES modules.
import('data:text/javascript,')
  .then(() => process.env.MILLICENT_EGRESS && require('./egress.cjs').openWayOut())
  // Not inside of a promise: what the server throws is then its own uncaught exception.
  .then(() => setImmediate(wait));
