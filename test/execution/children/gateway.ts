/**
 * A process that runs jails, to be killed, to run as another user, or to inherit descriptors. Its one argument
 * is JSON; it writes JSON lines to stdout.
 */
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { createBubblewrapBackend } from '../../../src/execution/backends/bubblewrap/index.ts';
import { findLeakedFds } from '../../../src/execution/backends/bubblewrap/leaked-fds.ts';
import { ownOwnerId } from '../../../src/execution/backends/bubblewrap/owner.ts';
import { call, codeOf, testExecution } from '../harness.ts';

export type GatewayOrder = {
  workDir: string;
  cgroups: 'auto' | 'off';
  calls: { toolName: string; arguments: Record<string, string | number>; runTimeoutMs: number }[];
};

const order = JSON.parse(process.argv[2] ?? '') as GatewayOrder;
const backend = createBubblewrapBackend({ ...order, clock: systemClock, log: silentLog });
const execution = testExecution(backend, { concurrencyMax: order.calls.length });
const attacks = codeOf(['mcp.py', 'attacks.py']);
const tell = (message: object) => process.stdout.write(`${JSON.stringify(message)}\n`);

const status = await execution.status();
tell({ ownerId: ownOwnerId(), status, leakedFds: findLeakedFds() });
if (status.kind === 'ready') {
  const outcomes = await Promise.all(
    order.calls.map(({ runTimeoutMs, ...rest }) =>
      call(execution, { code: attacks, ...rest, limits: { runTimeoutMs } }),
    ),
  );
  tell({ outcomes });
}
await execution.close();
