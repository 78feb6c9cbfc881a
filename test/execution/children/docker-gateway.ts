/** A process that runs calls in containers, to be killed. Its one argument is JSON; it writes JSON lines to stdout. */
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { createDockerBackend } from '../../../src/execution/backends/docker/index.ts';
import { call, codeOf, testExecution } from '../harness.ts';

export type DockerGatewayOrder = { socketPath: string; workDir: string; calls: number };

const order = JSON.parse(process.argv[2] ?? '') as DockerGatewayOrder;
const backend = createDockerBackend({
  hosts: [{ kind: 'unix', socketPath: order.socketPath }],
  workDir: order.workDir,
  clock: systemClock,
  log: silentLog,
});
const execution = testExecution(backend, { concurrencyMax: order.calls });
process.stdout.write(`${JSON.stringify(await execution.status())}\n`);
const attacks = codeOf(['mcp.py', 'attacks.py']);
// All of them run together, also where starting twelve takes a minute.
const limits = { runTimeoutMs: 150_000 };
await Promise.all(
  Array.from({ length: order.calls }, () =>
    call(execution, { code: attacks, toolName: 'ignore_signals', limits }),
  ),
);
