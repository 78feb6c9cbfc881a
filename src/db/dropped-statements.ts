import { isDatabaseLost } from '../core/database-lost.ts';
import type { Log } from '../core/log.ts';

/**
 * Lets the process outlive what the driver drops: of each new connection it asks for the array types, and nobody
 * waits for that promise (porsager/postgres, issues 1192 and 1223). A connection that is lost at that moment would end
 * the process. Who wanted it is told all the same, and the next one is asked anew. Everything else that nobody catches
 * is a bug, and ends the process as it would have.
 */
export function outliveDroppedStatements(log: Pick<Log, 'warn'>): void {
  process.on('unhandledRejection', (cause) => {
    if (!isDatabaseLost(cause)) throw cause;
    log.warn({ err: cause }, 'a new connection to the database was lost at once');
  });
}
