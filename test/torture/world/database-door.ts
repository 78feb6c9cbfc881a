import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { join } from 'node:path';

/**
 * What becomes of the next words on a connection: they pass; or it breaks, and what the gateway said never reaches
 * the database (`refuse`), or what the database answered, and did, never reaches the gateway (`swallow`); or nothing
 * more is heard, either way, until it is decided anew (`hold`).
 */
export type LineFate = 'pass' | 'refuse' | 'swallow' | 'hold';

/** The network between the gateways and their database. */
export type DatabaseDoor = {
  /** Where the gateways find the database. */
  url: string;
  /** Asked for every piece that passes, whoever said it, with how many connections there were before. */
  decide(fate: (connection: number) => LineFate): void;
  /** How many connections it broke. */
  broken(): number;
  close(): Promise<void>;
};

export async function openDatabaseDoor(databaseUrl: string): Promise<DatabaseDoor> {
  const behind = new URL(databaseUrl);
  const socketFolder = behind.searchParams.get('host');
  const port = Number(behind.port);
  const reach = () =>
    socketFolder === null
      ? connect({ host: behind.hostname, port })
      : connect({ path: join(socketFolder, `.s.PGSQL.${port}`) });
  let decide: (connection: number) => LineFate = () => 'pass';
  let opened = 0;
  let broken = 0;
  const held = new Set<() => void>();
  const open = new Set<Socket>();
  const server = createServer((client) => {
    const database = reach();
    const number = opened++;
    const both = [client, database];
    const hangUp = () => {
      for (const socket of both) socket.destroy();
    };
    const breakOff = () => {
      broken += 1;
      hangUp();
    };
    for (const socket of both) {
      open.add(socket);
      socket.setNoDelay(true);
      socket.on('error', hangUp);
      socket.on('close', () => {
        open.delete(socket);
        hangUp();
      });
    }
    const carry = (from: Socket, to: Socket, breaks: LineFate) =>
      from.on('data', (chunk) => {
        const fate = decide(number);
        if (fate === breaks) return breakOff();
        if (fate !== 'hold') return to.write(chunk);
        from.pause();
        held.add(() => {
          to.write(chunk);
          from.resume();
        });
      });
    carry(client, database, 'refuse');
    carry(database, client, 'swallow');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = new URL(databaseUrl);
  url.searchParams.delete('host');
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as AddressInfo).port);
  return {
    url: url.href,
    decide: (next) => {
      decide = next;
      for (const goOn of held) goOn();
      held.clear();
    },
    broken: () => broken,
    async close() {
      server.close();
      for (const socket of open) socket.destroy();
      await once(server, 'close');
    },
  };
}
