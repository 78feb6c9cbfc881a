import { type ChildProcess, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { resolve } from 'node:path';
import { connectGateway, type GatewayClient } from '../harness/gateway.ts';

const START = resolve(import.meta.dirname, '../../scripts/start.mjs');

/** `npm start` with several workers, as an operator runs it. */
export type Several = GatewayClient & {
  child: ChildProcess;
  exited: Promise<number | null>;
  /** The pids of its workers. */
  workers(): number[];
};

export async function startSeveral(env: NodeJS.ProcessEnv, count = 2): Promise<Several> {
  const child = spawn(process.execPath, [START], {
    env: { PATH: process.env.PATH, GATEWAY_WORKERS: String(count), ...env },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = new Promise<number | null>((done) => child.once('exit', done));
  const url = await new Promise<string>((done, fail) => {
    child.once('message', (message: { url: string }) => done(message.url));
    child.once('exit', () => fail(new Error('the gateway ended before it was ready')));
  });
  const pid = child.pid ?? 0;
  return { ...connectGateway(url), child, exited, workers: () => workersOf(pid) };
}

/** Those of its children that are Node; the other is PostgreSQL. */
function workersOf(pid: number): number[] {
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ');
  return children
    .map(Number)
    .filter((child) => child > 0 && readFileSync(`/proc/${child}/cmdline`, 'utf8').includes('--worker='));
}

export function isAlive(pid: number): boolean {
  try {
    // A zombie is gone, and its parent has not heard of it yet.
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return false;
  }
}

export type Answered = { status: number; body: Record<string, unknown> };

/** POST on a connection of its own, unless an agent keeps one. */
export function send(
  url: string,
  body: unknown,
  { headers = {}, agent = new Agent() }: { headers?: Record<string, string>; agent?: Agent } = {},
): Promise<Answered> {
  return new Promise((done, fail) => {
    const sent = request(
      url,
      { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, agent },
      async (response) => {
        let text = '';
        try {
          for await (const chunk of response) text += chunk;
          done({ status: response.statusCode ?? 0, body: text === '' ? {} : JSON.parse(text) });
        } catch (cause) {
          fail(cause);
        }
      },
    );
    sent.on('error', fail);
    sent.end(JSON.stringify(body));
  });
}
