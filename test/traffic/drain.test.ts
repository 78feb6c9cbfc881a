import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { createServer, drain, listen } from '../../src/server.ts';
import { connectRaw } from '../harness/raw-client.ts';

test('a drain waits for what was asked, and for no connection that is idle or never said a word', async () => {
  let finish = () => {};
  const asked = new Promise<void>((resolve) => {
    finish = resolve;
  });
  const server = createServer(async (request) => {
    if (new URL(request.url).pathname === '/slow') await asked;
    return new Response('done');
  });
  const url = `http://127.0.0.1:${await listen(server, { host: '127.0.0.1', port: 0 })}`;
  const [busy, idle, silent] = await Promise.all([connectRaw(url), connectRaw(url), connectRaw(url)]);
  busy.send('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
  idle.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await idle.until('done');
  let isDrained = false;
  const drained = drain(server).then(() => {
    isDrained = true;
  });
  await Promise.all([idle.ended(), silent.ended()]);
  // Neither was told of a time-out: they ended because the server does.
  expect(silent.text()).toBe('');
  await sleep(300);
  expect([isDrained, busy.isClosed()]).toEqual([false, false]);
  finish();
  expect(await busy.ended()).toMatch(/^HTTP\/1\.1 200 [\s\S]*connection: close[\s\S]*done$/i);
  await drained;
});

test('a drain cuts no answer that a slow reader is still taking', async () => {
  const size = 40_000_000;
  const server = createServer(() => new Response('x'.repeat(size)));
  const url = `http://127.0.0.1:${await listen(server, { host: '127.0.0.1', port: 0 })}`;
  const client = await connectRaw(url);
  client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.until('200 OK');
  client.socket.pause();
  const drained = drain(server);
  await sleep(1_000);
  client.socket.resume();
  const text = await client.ended();
  expect(text.length - text.indexOf('\r\n\r\n') - 4).toBe(size);
  await drained;
});
