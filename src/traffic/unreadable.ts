import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { type StaticRefusal, spellRefusal } from './static-refusal.ts';

/** What comes instead of an answer when a connection sends what is no request, or not in time. */
export type Unreadable = {
  /** `pending` are the answers that the connection still waits for, in their order. */
  refuse(socket: Socket, error: NodeJS.ErrnoException, pending: readonly ServerResponse[]): void;
};

/**
 * Node would write its refusal at once, and the connection's first caller would take it for the answer to what it
 * paid for. What was read as a whole is answered first.
 */
export function createUnreadable(): Unreadable {
  // A connection is refused again by everything that it sends meanwhile.
  const refused = new WeakSet<Socket>();
  return {
    refuse(socket, error, pending) {
      if (refused.has(socket)) return;
      refused.add(socket);
      const last = pending.filter(({ req, writableFinished }) => req.complete && !writableFinished).at(-1);
      if (last) {
        if (!last.headersSent) last.shouldKeepAlive = false;
        last.once('close', () => socket.destroySoon());
        return;
      }
      const isBegun = pending.some(({ headersSent }) => headersSent);
      if (!isBegun && socket.writable) socket.write((REFUSALS.get(error.code ?? '') ?? MALFORMED).raw);
      socket.destroySoon();
    },
  };
}

const spell = (status: number, detail: string): StaticRefusal =>
  spellRefusal(status, { type: 'malformed-request', title: 'The request cannot be read', detail });

const MALFORMED = spell(400, 'This is no request of HTTP/1.1.');
const REFUSALS: ReadonlyMap<string, StaticRefusal> = new Map([
  ['HPE_HEADER_OVERFLOW', spell(431, 'The request line and all headers are 16 KiB at most.')],
  ['HPE_CHUNK_EXTENSIONS_OVERFLOW', spell(413, 'A chunk has too many extensions.')],
  ['ERR_HTTP_REQUEST_TIMEOUT', spell(408, 'The request came too slowly.')],
]);
