import { createServer } from 'node:http';
import { Pool } from 'undici';
import { tellReady } from './ready.ts';

/** A plain reverse proxy of Node: bytes in, bytes out, over a pool. */
const pool = new Pool(process.env.TARGET ?? '', { connections: 64 });
const server = createServer(async (request, response) => {
  const { host: _, connection: __, ...headers } = request.headers;
  const {
    statusCode,
    headers: answered,
    body,
  } = await pool.request({
    ...{ path: request.url ?? '/', method: 'POST', headers, body: request },
  });
  response.writeHead(statusCode, answered);
  body.pipe(response);
});
tellReady(server);
