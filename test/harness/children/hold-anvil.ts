/** Starts anvil, says its pid, and holds it until stdin closes. */

import { silentLog } from '../../../src/core/log.ts';
import { startAnvil } from '../chain.ts';

const anvil = await startAnvil({ log: silentLog });
console.log(JSON.stringify({ pid: anvil.pid, rpcUrl: anvil.rpcUrl }));
process.stdin.resume();
process.stdin.once('end', () => anvil.close());
