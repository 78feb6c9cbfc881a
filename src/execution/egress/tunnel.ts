import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';

/** What went through a gate so far, in all its tunnels. */
export type Meter = {
  up: number;
  down: number;
  /** False once the gate has let through what it may; what is asked for then does not pass. */
  take(direction: 'up' | 'down', bytes: number): boolean;
};

export function createMeter(bytesMax: number): Meter {
  const meter: Meter = {
    up: 0,
    down: 0,
    take(direction, bytes) {
      if (meter.up + meter.down + bytes > bytesMax) return false;
      meter[direction] += bytes;
      return true;
    },
  };
  return meter;
}

export type Tunnel = {
  jail: Duplex;
  remote: Socket;
  /** What the jail sent after its request already. */
  head: Buffer;
  meter: Meter;
  idleMs: number;
};

/** Carries bytes both ways, each counted before it passes. Either side's end ends the tunnel. */
export function joinTunnel({ jail, remote, head, meter, idleMs }: Tunnel): void {
  const end = () => {
    jail.destroy();
    remote.destroy();
  };
  const carry = (from: Duplex, to: Duplex, direction: 'up' | 'down') => {
    from.on('data', (chunk: Buffer) => {
      if (!meter.take(direction, chunk.length)) return end();
      if (!to.write(chunk)) from.pause();
    });
    to.on('drain', () => from.resume());
    from.once('end', () => to.end());
    // What came before a proper end may still be on its way to the other side.
    from.once('error', end).once('close', () => (from.readableEnded ? to.end() : end()));
  };
  remote.setTimeout(idleMs, end);
  if (head.length > 0) jail.unshift(head);
  carry(jail, remote, 'up');
  carry(remote, jail, 'down');
}
