import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener, type HttpBindings } from '@hono/node-server';
import { Hono } from 'hono';
import { afterEach, expect, test } from 'vitest';
import { readContent } from '../../src/http/content.ts';
import type { Env } from '../../src/http/env.ts';

const BYTES_MAX = 10;
const closings: (() => void)[] = [];
afterEach(() => {
  for (const close of closings.splice(0)) close();
});

test.each([
  ['nobody', async () => {}],
  ['somebody, by a copy', async (request: Request) => void (await request.clone().text())],
  ['somebody who only began', async (request: Request) => void request.clone().body?.getReader().read()],
])('a body is whole when it was read before by: %s', async (_name, before) => {
  const url = await serveEcho(before);
  const answer = await fetch(url, { method: 'POST', body: 'ten bytes.' });
  expect(await answer.text()).toBe('ten bytes.');
  expect((await fetch(url, { method: 'POST' })).status).toBe(200);
  expect((await fetch(url, { method: 'POST', body: 'eleven byte' })).status).toBe(500);
});

async function serveEcho(before: (request: Request) => Promise<void>): Promise<string> {
  const app = new Hono<Env>();
  app.post('/', async (c) => c.body(Buffer.from(await readContent(c, BYTES_MAX))));
  app.onError((cause, c) => c.text(String(cause), 500));
  const server = createServer(
    getRequestListener(async (request, env) => {
      await before(request);
      return await app.fetch(request, env as HttpBindings);
    }),
  );
  await new Promise<void>((done) => void server.listen(0, '127.0.0.1', done));
  closings.push(() => void server.close());
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}
