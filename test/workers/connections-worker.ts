import { createServer } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { drain } from '../../src/server.ts';
import { joinSupervisor } from '../../src/workers/index.ts';

/** A worker that says which one it is, what it was sent, and how often it was asked. */
const worker = joinSupervisor(Number(process.env.WORKERS));
const number = process.argv.find((argument) => argument.startsWith('--worker='))?.slice('--worker='.length);
let [connections, requests] = [0, 0];
let isDraining = false;
const server = createServer(async (request, response) => {
  requests += 1;
  let body = '';
  for await (const chunk of request) body += chunk;
  if (request.url === '/die') process.kill(process.pid, 'SIGKILL');
  if (request.url === '/slow') await sleep(700);
  if (request.url === '/crash') process.exit(3);
  if (request.url === '/block') for (const until = Date.now() + 1_500; Date.now() < until; );
  if (isDraining) response.shouldKeepAlive = false;
  const { remoteAddress } = request.socket;
  response.setHeader('content-type', 'application/json');
  response.end(
    JSON.stringify({
      worker: number,
      pid: process.pid,
      connections,
      requests,
      body,
      remoteAddress,
      url: request.url,
    }),
  );
});
server.headersTimeout = 3_000;
server.on('connection', () => {
  connections += 1;
});
process.on('SIGTERM', worker.retire);
await worker.begun;
worker.serve(server);
worker.sayReady();
worker.siblings.answer('pid', async () => process.pid);
await worker.drained;
isDraining = true;
await drain(server);
process.exit(0);
