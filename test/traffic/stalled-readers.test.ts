import type { Server } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { createServer, listen, type ServerOptions } from '../../src/server.ts';
import { waitUntil } from '../harness/process.ts';
import { connectRaw, type RawClient } from '../harness/raw-client.ts';

/** More than the kernels of both ends keep for a connection. */
const ANSWER_BYTES = 24 * 1024 * 1024;
const servers: Server[] = [];

afterEach(async () => {
  for (const server of servers.splice(0)) {
    server.closeAllConnections();
    await new Promise((done) => server.close(done));
  }
});

async function start(readers: ServerOptions['readers']): Promise<string> {
  const answer = Buffer.alloc(ANSWER_BYTES, 'x');
  const server = createServer(() => new Response(answer), readers ? { readers } : {});
  servers.push(server);
  return `http://127.0.0.1:${await listen(server, { host: '127.0.0.1', port: 0 })}`;
}

/** Asks for the large answer and takes nothing of it. */
async function ask(url: string): Promise<RawClient> {
  const client = await connectRaw(url);
  client.socket.pause();
  client.send('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  return client;
}

const closed = (client: RawClient) => client.socket.bytesRead < ANSWER_BYTES && client.isClosed();

test('a reader that takes nothing is closed, and one that takes its time gets all', async () => {
  const url = await start({ stallMs: 1_500, stallBytesMin: 16 * 1024, waitingBytesMax: 2 ** 30 });
  const [stuck, patient] = [await ask(url), await ask(url)];
  const sip = setInterval(() => {
    patient.socket.resume();
    setTimeout(() => patient.socket.pause(), 2);
  }, 50);
  await waitUntil(async () => {
    // It is seen to be closed by who reads on.
    await sleep(3_000);
    stuck.socket.resume();
    return stuck.isClosed() || undefined;
  });
  expect(closed(stuck)).toBe(true);
  clearInterval(sip);
  patient.socket.resume();
  await patient.ended();
  expect(patient.socket.bytesRead).toBeGreaterThan(ANSWER_BYTES);
});

test('answers that nobody takes are bounded in all: who has stood longest goes first', async () => {
  const url = await start({ stallMs: 4_000, stallBytesMin: 2 ** 40, waitingBytesMax: 2.5 * ANSWER_BYTES });
  const clients: RawClient[] = [];
  for (let index = 0; index < 4; index += 1) {
    clients.push(await ask(url));
    await sleep(100);
  }
  // Long enough for a sweep, and not for the bound of a single reader.
  await sleep(3_000);
  for (const { socket } of clients) socket.resume();
  await Promise.all(clients.map((client) => client.ended()));
  const whole = clients.filter(({ socket }) => socket.bytesRead > ANSWER_BYTES);
  expect(whole.length).toBeGreaterThanOrEqual(1);
  expect(whole.length).toBeLessThanOrEqual(3);
});
