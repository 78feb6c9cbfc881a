import { createServer, type Socket } from 'node:net';
import { silentLog } from '../../../src/core/log.ts';
import { openDatabase, reachDatabase } from '../../../src/db/index.ts';

/** A server that lets everybody in and then does as it is told with the first statement. Prints what its user was told. */
const END: Record<string, (socket: Socket) => void> = {
  fatal: (socket) => socket.end(message('E', Buffer.from('SFATAL\0VFATAL\0C08P01\0Mno server\0\0'))),
  reset: (socket) => socket.resetAndDestroy(),
  silent: () => {},
};

function message(type: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5);
  head.write(type, 0, 'latin1');
  head.writeInt32BE(body.length + 4, 1);
  return Buffer.concat([head, body]);
}

const LET_IN = Buffer.concat([message('R', Buffer.alloc(4)), message('Z', Buffer.from('I'))]);

const [how = ''] = process.argv.slice(2);
const server = createServer((socket) => {
  let isIn = false;
  socket.on('error', () => {});
  socket.on('data', () => {
    if (isIn) return END[how]?.(socket);
    isIn = true;
    socket.write(LET_IN);
  });
});
server.listen(0, '127.0.0.1', async () => {
  const address = server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  const url = `postgres://u:p@127.0.0.1:${port}/d`;
  if (how === 'silent') console.log(`told ${await reachDatabase({ url, log: silentLog, waitMs: 6_000 })}`);
  else {
    const { sql } = openDatabase({ url, poolMax: 1, applicationName: 'dropped-statements' });
    const told = await sql`SELECT 1`.catch((cause: { code?: string }) => cause.code);
    console.log(`told ${told}`);
  }
  setTimeout(() => process.exit(0), 300);
});
