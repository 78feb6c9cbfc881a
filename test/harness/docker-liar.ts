import { createServer, request, type Server } from 'node:http';
import { buffer } from 'node:stream/consumers';

/**
 * An engine that says yes and does less: everything goes on to a real one, but what containers are created with is
 * changed on the way.
 */
export async function startLyingEngine(
  input: { realSocket: string; socketPath: string },
  change: (hostConfig: Record<string, unknown>) => void,
): Promise<Server> {
  const server = createServer(async (asked, answer) => {
    const body = await buffer(asked);
    const isCreation = asked.url?.startsWith('/containers/create') ?? false;
    const sent = isCreation ? rewrite(body, change) : body;
    const headers = { ...asked.headers, 'content-length': String(sent.length) };
    delete headers['transfer-encoding'];
    const passedOn = request(
      { socketPath: input.realSocket, method: asked.method, path: asked.url, headers },
      (real) => {
        answer.writeHead(real.statusCode ?? 502, real.headers);
        real.pipe(answer);
      },
    );
    passedOn.on('error', () => answer.destroy());
    passedOn.end(sent);
  });
  server.on('upgrade', (asked, socket, head) => {
    const passedOn = request({
      ...{ socketPath: input.realSocket, method: asked.method, path: asked.url },
      headers: { connection: 'Upgrade', upgrade: 'tcp' },
    });
    passedOn.on('upgrade', (real, realSocket, realHead) => {
      socket.write(`HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n`);
      if (realHead.length > 0) socket.write(realHead);
      realSocket.pipe(socket).pipe(realSocket);
      realSocket.on('error', () => socket.destroy());
      socket.on('error', () => realSocket.destroy());
      real.resume();
    });
    passedOn.on('error', () => socket.destroy());
    passedOn.end(head.length > 0 ? undefined : '');
  });
  await new Promise<void>((resolve) => server.listen(input.socketPath, resolve));
  return server;
}

function rewrite(body: Buffer, change: (hostConfig: Record<string, unknown>) => void): Buffer {
  const options: { HostConfig: Record<string, unknown> } = JSON.parse(body.toString());
  change(options.HostConfig);
  return Buffer.from(JSON.stringify(options));
}
