/** Starts or attaches to the server in the given folder, says its address, and closes when stdin does. */

import { silentLog } from '../../../src/core/log.ts';
import { startEmbeddedPostgres } from '../../../src/db/index.ts';

const [, , dataDir = ''] = process.argv;
try {
  const server = await startEmbeddedPostgres({ dataDir, log: silentLog });
  console.log(JSON.stringify({ url: server.url }));
  process.stdin.resume();
  process.stdin.once('end', () => server.close());
} catch (error) {
  // The one sentence that a person would see.
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
