import { type ChildProcess, spawn } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { createInterface } from 'node:readline';
import { type OwnServer, startOwn } from '../e2e/own-servers.ts';

const SPARE = 4;

type Message = { id?: string | number; method?: string; params?: { _meta?: Record<string, unknown> } };

/**
 * Serves a server that speaks stdio over streamable HTTP, as its publisher would host it: a process for each session
 * of the 2025 era, and one for each request of 2026-07-28.
 */
export async function startBridge(script: string): Promise<OwnServer> {
  const sessions = new Map<string, Child>();
  const children = new Set<Child>();
  const start = () => {
    const child = startChild(script);
    children.add(child);
    child.process.once('close', () => children.delete(child));
    return child;
  };
  // The suites allow some answers half a second, which starting Python can take alone on a busy machine.
  const spare = Array.from({ length: SPARE }, start);
  const take = () => spare.shift() ?? start();
  const refill = () => {
    if (spare.length < SPARE && !isClosed) spare.push(start());
  };
  let isClosed = false;
  const own = await startOwn(async (request, response, body) => {
    const sessionId = String(request.headers['mcp-session-id'] ?? '');
    const session = sessions.get(sessionId);
    if (request.method === 'DELETE') {
      session?.process.kill();
      sessions.delete(sessionId);
      return response.writeHead(session ? 204 : 404).end();
    }
    if (request.method !== 'POST') return response.writeHead(405).end();
    const message: Message = JSON.parse(body.toString());
    if (session === undefined && sessionId !== '') return response.writeHead(404).end();
    if (message.id === undefined || message.method === undefined) {
      session?.write(message);
      return response.writeHead(202).end();
    }
    if (session !== undefined) return session.answer(message, response);
    if (message.method === 'initialize') {
      const id = randomUUID();
      const child = take();
      response.once('close', refill);
      sessions.set(id, child);
      response.setHeader('mcp-session-id', id);
      return child.answer(message, response);
    }
    if (!('io.modelcontextprotocol/protocolVersion' in (message.params?._meta ?? {}))) {
      return response.writeHead(400).end();
    }
    const child = take();
    response.once('close', () => {
      child.process.kill();
      refill();
    });
    return child.answer(message, response);
  });
  return {
    ...own,
    async close() {
      isClosed = true;
      for (const { process } of children) process.kill();
      await own.close();
    },
  };
}

type Child = {
  process: ChildProcess;
  write(message: object): void;
  /** Everything that it says from now on goes into the stream, up to the answer; one request at a time. */
  answer(message: Message, response: ServerResponse): Promise<void>;
};

function startChild(script: string): Child {
  const child = spawn('python3', ['-u', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  // Who was ended reads no more.
  child.stdin.on('error', () => undefined);
  let hear = (_: string) => {};
  createInterface({ input: child.stdout }).on('line', (line) => hear(line));
  let last: Promise<unknown> = Promise.resolve();
  const write = (message: object) => child.stdin.write(`${JSON.stringify(message)}\n`);
  const answer = (message: Message, response: ServerResponse) =>
    new Promise<void>((resolve) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' });
      const finish = () => {
        response.end();
        resolve();
      };
      child.once('close', finish);
      hear = (line) => {
        response.write(`data: ${line}\n\n`);
        const said: Message = JSON.parse(line);
        if (said.id !== message.id || said.method !== undefined) return;
        child.off('close', finish);
        finish();
      };
      write(message);
    });
  return {
    process: child,
    write,
    answer(message, response) {
      const answered = last.then(() => answer(message, response));
      last = answered;
      return answered;
    },
  };
}
