import { Readable } from 'node:stream';
import { Problem } from '../core/problem.ts';
import type { Ctx } from './env.ts';

const BODY_TIMEOUT_MS = 30_000;

/** Hears of bytes before they are kept; what it throws ends the reading. */
export type OnBytes = ((bytes: number) => void) | undefined;

/** The bytes of the body as they came, bounded in number and in time. */
export async function readContent(
  c: Ctx,
  bytesMax: number,
  { timeoutMs = BODY_TIMEOUT_MS, onBytes }: { timeoutMs?: number; onBytes?: OnBytes } = {},
): Promise<Uint8Array> {
  const declared = Number(c.req.header('content-length') ?? 0);
  if (declared > bytesMax) throw tooLarge(bytesMax);
  const body = bodyOf(c);
  if (!body) return new Uint8Array();
  const content = await collect(body, {
    timeoutMs,
    onBytes(bytes, total) {
      if (total > bytesMax) throw tooLarge(bytesMax);
      onBytes?.(bytes);
    },
  });
  c.set('content', content);
  return content;
}

/**
 * The body as Node has it: `Request.body` would have a `Request`, its headers and two web streams made for it,
 * which costs more than most calls. Where somebody before us has begun to read, it is the `Request` that has it.
 */
function bodyOf(c: Ctx): Readable | undefined {
  const incoming = c.env?.incoming;
  if (incoming?.readableFlowing === null) return incoming;
  const { body } = c.req.raw;
  return body ? Readable.fromWeb(body) : undefined;
}

type Bounds = { timeoutMs: number; onBytes(bytes: number, total: number): void };

/** What is left unread when this rejects is for whoever answers to drain or to hang up on. */
function collect(body: Readable, { timeoutMs, onBytes }: Bounds): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let total = 0;
    const stop = () => {
      clearTimeout(timer);
      body.off('data', take).off('end', finish).off('error', breakOff).off('close', breakOff);
    };
    const refuse = (problem: unknown) => {
      stop();
      body.pause();
      reject(problem);
    };
    const take = (chunk: Buffer) => {
      total += chunk.length;
      chunks.push(chunk);
      try {
        onBytes(chunk.length, total);
      } catch (problem) {
        refuse(problem);
      }
    };
    const finish = () => {
      stop();
      resolve(chunks.length === 1 && chunks[0] ? chunks[0] : Buffer.concat(chunks));
    };
    const breakOff = () => refuse(brokenOff());
    // A body that trickles in must not hold its connection and our memory for long.
    const timer = setTimeout(() => refuse(tooLate(timeoutMs)), timeoutMs);
    if (body.destroyed) breakOff();
    else body.on('data', take).on('end', finish).on('error', breakOff).on('close', breakOff);
  });
}

function tooLate(timeoutMs: number): Problem {
  return new Problem('malformed-request', {
    detail: `The body did not arrive within ${timeoutMs / 1000} seconds.`,
    isUncharged: true,
  });
}

/** A client that goes away in the middle is no failure of ours. */
function brokenOff(): Problem {
  return new Problem('malformed-request', { detail: 'The body broke off.', isUncharged: true });
}

function tooLarge(bytesMax: number): Problem {
  return new Problem('body-too-large', {
    detail: `The body may be ${bytesMax} bytes at most.`,
    isUncharged: true,
  });
}
