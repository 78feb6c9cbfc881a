/** A process that runs calls in pods, to be killed. Its one argument is JSON. */
import { systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import {
  createKubernetesBackend,
  type KubernetesBackendDeps,
} from '../../../src/execution/backends/kubernetes/index.ts';
import { call, codeOf, testExecution } from '../harness.ts';

export type KubernetesGatewayOrder = { deps: Omit<KubernetesBackendDeps, 'clock' | 'log'>; calls: number };

const order = JSON.parse(process.argv[2] ?? '') as KubernetesGatewayOrder;
const backend = createKubernetesBackend({ ...order.deps, clock: systemClock, log: silentLog });
const execution = testExecution(backend, { concurrencyMax: order.calls });
await execution.status();
const attacks = codeOf(['mcp.py', 'attacks.py']);
const limits = { runTimeoutMs: 60_000 };
await Promise.all(
  Array.from({ length: order.calls }, () =>
    call(execution, { code: attacks, toolName: 'ignore_signals', limits }),
  ),
);
