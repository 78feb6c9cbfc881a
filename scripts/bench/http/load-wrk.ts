import { join } from 'node:path';
import type { LoadAnswer, LoadRequest } from './load.ts';
import { runToEnd } from './run-to-end.ts';

const SCRIPT = join(import.meta.dirname, 'keys.lua');

/** One run of wrk: with one thread, or with one for each key, because its threads share no connection. */
export async function runWrk(request: LoadRequest, pin: string[]): Promise<LoadAnswer> {
  const { keys, connections } = request;
  const [first, ...others] = keys;
  const isSpread = others.length > 0;
  const sent = first === undefined || isSpread ? request.headers : withKey(request.headers, first);
  const headers = Object.entries(sent).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const threads = Math.max(1, keys.length);
  const amount = [`-t${threads}`, `-c${connections}`, `-d${toDuration(request.seconds)}`, '--timeout', '10s'];
  const script = isSpread ? ['-s', SCRIPT, request.url, '--', ...keys] : [request.url];
  const output = await runToEnd([...pin, 'wrk', ...amount, ...headers, ...script], request.seconds);
  return readWrk(output);
}

function withKey(headers: Record<string, string>, key: string): Record<string, string> {
  return { ...headers, authorization: `Bearer ${key}` };
}

/** wrk takes whole seconds only. */
function toDuration(seconds: number): string {
  return `${Math.max(1, Math.round(seconds))}s`;
}

/** Reads what wrk prints for people. */
export function readWrk(output: string): LoadAnswer {
  const find = (pattern: RegExp) => pattern.exec(output)?.slice(1).map(Number);
  const [answers] = find(/^\s*(\d+) requests in /m) ?? [];
  const [perSecond] = find(/^Requests\/sec:\s+([\d.]+)/m) ?? [];
  const [refused = 0] = find(/Non-2xx or 3xx responses: (\d+)/) ?? [];
  const socket = find(/Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)/) ?? [];
  if (answers === undefined || perSecond === undefined) throw new Error(`wrk printed no figures: ${output}`);
  return { answers, perSecond, refused, broken: socket.reduce((sum, count) => sum + count, 0) };
}
