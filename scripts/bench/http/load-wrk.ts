import type { LoadAnswer, LoadRequest } from './load.ts';
import { runToEnd } from './run-to-end.ts';

/** One run of wrk with one thread. */
export async function runWrk(request: LoadRequest, pin: string[]): Promise<LoadAnswer> {
  const headers = Object.entries(request.headers).flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
  const amount = ['-t1', `-c${request.connections}`, `-d${toDuration(request.seconds)}`, '--timeout', '10s'];
  const output = await runToEnd([...pin, 'wrk', ...amount, ...headers, request.url]);
  return readWrk(output);
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
