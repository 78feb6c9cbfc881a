import { connect, type Socket } from 'node:net';
import { waitUntil } from './process.ts';

/** A client that keeps no rule of HTTP but those it spells itself. */
export type RawClient = {
  socket: Socket;
  send(text: string): void;
  /** What came so far. */
  text(): string;
  isClosed(): boolean;
  /** Waits for the answer's text to have this in it. */
  until(part: string | RegExp): Promise<string>;
  /** Waits for the end of the connection, and gives all that came. */
  ended(): Promise<string>;
};

export async function connectRaw(url: string, localAddress?: string): Promise<RawClient> {
  const { hostname, port } = new URL(url);
  const socket = connect({ host: hostname, port: Number(port), localAddress });
  let [text, isClosed] = ['', false];
  socket.on('data', (chunk) => {
    text += chunk.toString('latin1');
  });
  // A connection that is cut is what many of these tests wait for.
  socket.on('error', () => {});
  socket.on('close', () => {
    isClosed = true;
  });
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
    socket.once('close', resolve);
  });
  return {
    socket,
    send: (sent) => void socket.write(sent),
    text: () => text,
    isClosed: () => isClosed,
    until: (part) =>
      waitUntil(() =>
        (typeof part === 'string' ? text.includes(part) : part.test(text)) ? text : undefined,
      ),
    async ended() {
      await waitUntil(() => isClosed || undefined);
      return text;
    },
  };
}
