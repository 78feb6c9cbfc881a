import type { Socket } from 'node:net';

/** Connections for which there is no worker yet, or just now. */
export type WaitingRoom<T extends { socket: Socket }> = {
  add(parcel: T): void;
  /** All that wait, who then wait no more. */
  leave(): T[];
  /** Nobody will come: everyone is told so. */
  close(): void;
};

/** As long as a client is better off waiting than asking again. */
const WAIT_MS = 10_000;
const BODY = JSON.stringify({
  type: 'about:blank',
  title: 'Not available right now',
  status: 503,
  detail: 'The gateway is starting. Try again in a moment.',
});
const REFUSAL = [
  'HTTP/1.1 503 Service Unavailable',
  'content-type: application/problem+json',
  `content-length: ${BODY.length}`,
  'retry-after: 2',
  'connection: close',
  '',
  BODY,
].join('\r\n');

export function createWaitingRoom<T extends { socket: Socket }>(waitMs: number = WAIT_MS): WaitingRoom<T> {
  const waiting = new Map<T, NodeJS.Timeout>();
  const refuse = (parcel: T) => {
    clearTimeout(waiting.get(parcel));
    waiting.delete(parcel);
    parcel.socket.end(REFUSAL, () => parcel.socket.destroy());
  };
  return {
    add(parcel) {
      waiting.set(
        parcel,
        setTimeout(() => refuse(parcel), waitMs),
      );
    },
    leave() {
      for (const timer of waiting.values()) clearTimeout(timer);
      const parcels = [...waiting.keys()];
      waiting.clear();
      return parcels;
    },
    close() {
      for (const parcel of [...waiting.keys()]) refuse(parcel);
    },
  };
}
