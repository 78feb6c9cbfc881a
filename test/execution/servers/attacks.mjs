// Hostile tools. Each tries one thing and, if it lives to tell, reports how far it got.
import { spawn } from 'node:child_process';
import dns from 'node:dns/promises';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { serve, structured } from './mcp.mjs';

const MB = 1024 * 1024;

/** 'allowed', or the name of the error. */
function attempt(action) {
  try {
    action();
    return 'allowed';
  } catch (error) {
    return error.code ?? error.name;
  }
}

function connect(target) {
  return new Promise((resolve) => {
    const socket = net.connect(target);
    socket.setTimeout(1000, () => {
      socket.destroy();
      resolve('ETIMEDOUT');
    });
    socket.once('connect', () => resolve('allowed'));
    socket.once('error', (error) => resolve(error.code));
  });
}

function startSelf(source, options = {}) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, ['-e', source], { stdio: 'ignore', ...options });
    child.once('error', (error) => resolve(error.code));
    child.once('spawn', () => resolve('allowed'));
    child.unref();
  });
}

await serve({
  count: ({ text }) => structured({ words: text.split(' ').length }),

  async fork_bomb() {
    const source = 'for(;;){try{require("child_process").spawn(process.execPath,["-e","for(;;);"])}catch{}}';
    for (;;) await startSelf(source);
  },

  async thread_bomb() {
    let started = 0;
    const wait = new Int32Array(new SharedArrayBuffer(4));
    while (started < 1000) {
      new Worker('for(;;);', { eval: true });
      started += 1;
      Atomics.wait(wait, 0, 0, 10);
      await sleep(1);
    }
    return structured({ started });
  },

  memory_bomb() {
    const blocks = [];
    for (;;) blocks.push(Buffer.alloc(4 * MB, 1));
  },

  heap_bomb() {
    const blocks = [];
    for (;;) blocks.push(Array.from({ length: 10_000 }, (_, index) => ({ index })));
  },

  shared_buffer_bomb() {
    const blocks = [];
    for (;;) blocks.push(new Uint8Array(new SharedArrayBuffer(4 * MB)).fill(1));
  },

  disk_fill() {
    let bytes = 0;
    let end = 'allowed';
    try {
      for (let number = 0; bytes < 1024 * MB; number += 1) {
        const file = fs.openSync(`/tmp/${number}`, 'w');
        for (let block = 0; block < 32; block += 1) bytes += fs.writeSync(file, Buffer.alloc(MB, 1));
        fs.closeSync(file);
      }
    } catch (error) {
      end = error.code;
    }
    return structured({ bytes, end });
  },

  write_outside() {
    const folders = ['/', '/mcp', '/usr', '/usr/lib', '/etc', '/dev', '/bin', '/layers', '/run'];
    const results = folders.map((folder) => [
      folder,
      attempt(() => fs.writeFileSync(`${folder}/intruder`, '')),
    ]);
    return structured(Object.fromEntries(results));
  },

  write_code() {
    return structured({
      folder: attempt(() => fs.chmodSync('/mcp', 0o777)),
      mode: attempt(() => fs.chmodSync('/mcp/mcp.mjs', 0o777)),
      poison: attempt(() => fs.appendFileSync('/mcp/mcp.mjs', '\nglobalThis.POISONED = true;\n')),
      add: attempt(() => fs.writeFileSync('/mcp/package.json', '{"type":"commonjs"}')),
    });
  },

  read_code: () => structured({ isPoisoned: 'POISONED' in globalThis, code: fs.readdirSync('/mcp').sort() }),

  host_files({ paths }) {
    const secrets = ['/etc/shadow', '/root', '/home', '/var', '/run/docker.sock', '/run/systemd', ...paths];
    const results = secrets.map((path) => [path, attempt(() => fs.statSync(path))]);
    const writes = ['/proc/self/exe', '/proc/sys/kernel/core_pattern', '/sys/fs/cgroup/release_agent'];
    return structured({
      paths: Object.fromEntries(results),
      writes: writes.map((path) => attempt(() => fs.closeSync(fs.openSync(path, 'r+')))),
      tmp: fs.readdirSync('/tmp'),
      identity: [process.getuid(), process.geteuid(), os.hostname()],
    });
  },

  inheritance() {
    const fds = {};
    for (let fd = 3; fd < 256; fd += 1) {
      try {
        const there = fs.fstatSync(fd);
        // Node's own are pipes and nameless inodes; a null device covers what would be inherited.
        if (there.isFile() || there.isDirectory() || there.isSocket() || there.isBlockDevice())
          fds[fd] = there.mode;
      } catch {}
    }
    return structured({ environment: Object.keys(process.env).sort(), fds });
  },

  async network({ port, abstract, path }) {
    return structured({
      loopback: await connect({ host: '127.0.0.1', port }),
      metadata: await connect({ host: '169.254.169.254', port: 80 }),
      internet: await connect({ host: '192.0.2.1', port: 80 }),
      internet6: await connect({ host: '2001:db8::1', port: 80 }),
      abstract: await connect({ path: `\0${abstract}` }),
      path: await connect({ path }),
      dns: await dns.lookup('example.com').then(
        () => 'allowed',
        (error) => error.code,
      ),
      fetch: await fetch('http://169.254.169.254/latest/meta-data', {
        signal: AbortSignal.timeout(2000),
      }).then(
        () => 'allowed',
        (error) => error.cause?.code ?? error.name,
      ),
    });
  },

  async stdout_flood() {
    const line = '{"jsonrpc":"2.0","method":"notifications/message","params":{}}\n';
    // A pipe that is full for the moment is no reason to stop.
    for (;;) attempt(() => fs.writeSync(1, line));
  },

  cpu_spin() {
    for (;;);
  },

  async ignore_signals() {
    for (const name of Object.keys(os.constants.signals)) attempt(() => process.on(name, () => {}));
    await sleep(600_000);
  },

  async orphan() {
    const source = 'process.on("SIGTERM",()=>{});setTimeout(()=>{},600000)';
    const result = await startSelf(source, { detached: true });
    return structured({ result });
  },

  signal_everyone({ gateway }) {
    return structured({ host: attempt(() => process.kill(gateway, 'SIGKILL')) });
  },

  async inspector() {
    const inspector = await import('node:inspector');
    // A debugger listens on the jail's own loopback, which nobody else reaches.
    return structured({ open: attempt(() => inspector.open(9229, '127.0.0.1')) });
  },
});
