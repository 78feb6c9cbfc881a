import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { type Command, UsageError } from '../../src/cli/command.ts';

export type Ran = { code: number; out: string; err: string };

/** Runs the command as people do. */
export async function millicent(args: string[], input = ''): Promise<Ran> {
  const child = spawn(join(import.meta.dirname, '../../src/cli/millicent.mjs'), args);
  let [out, err] = ['', ''];
  child.stdout.on('data', (chunk) => {
    out += chunk;
  });
  child.stderr.on('data', (chunk) => {
    err += chunk;
  });
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { code, out, err };
}

/** Runs one command in this process, which takes no seconds to start; what it throws is told as `main.ts` tells it. */
export async function runCommand(command: Command, args: readonly string[]): Promise<Ran> {
  const [out, err]: string[][] = [[], []];
  const options = { ...command.options, url: { type: 'string', default: 'http://127.0.0.1:1' } } as const;
  const signal = new AbortController().signal;
  const tell = (code: number) => ({ code, out: toLines(out), err: toLines(err) });
  try {
    const { values, positionals } = parseArgs({ args: [...args], options, allowPositionals: true });
    return tell(
      await command.run({
        ...{ values, positionals, signal, url: String(values.url) },
        print: (text) => out?.push(text),
        complain: (text) => err?.push(text),
        readFirstLine: async () => '',
      }),
    );
  } catch (cause) {
    err?.push(
      `${cause instanceof UsageError ? 'usage: ' : ''}${cause instanceof Error ? cause.message : cause}`,
    );
    return tell(2);
  }
}

const toLines = (texts: readonly string[] = []) => texts.map((text) => `${text}\n`).join('');

export type Stage = { url: string; close(): Promise<void> };

/** A server that answers what it is told to; undefined is a 404. */
export async function startStage(
  answer: (path: string, body: string) => string | Buffer | undefined | Promise<string | Buffer | undefined>,
): Promise<Stage> {
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = await answer(request.url ?? '', Buffer.concat(chunks).toString());
    response.statusCode = body === undefined ? 404 : 200;
    response.end(body ?? JSON.stringify({ detail: 'There is no such thing here.' }));
  });
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return {
    url: `http://127.0.0.1:${port}`,
    async close() {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}
