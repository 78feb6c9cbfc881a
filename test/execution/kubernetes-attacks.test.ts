import { afterAll, describe, expect } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { createKubernetesBackend } from '../../src/execution/backends/kubernetes/index.ts';
import { startTestCluster, type TestCluster } from '../harness/kubernetes.ts';
import { describeAttacks } from './attack-suite.ts';
import { testExecution, WORK_DIR } from './harness.ts';

/**
 * No cluster can be had: the pods of the API server are bubblewrap jails. What is shown is that nothing gets lost or
 * through on the way (output, floods, memory, times, ends); that pods isolate is shown by the trial on a real cluster.
 */
describe('through an API server of Kubernetes', () => {
  let cluster: TestCluster | undefined;
  afterAll(async () => {
    expect(cluster?.store.list('leases')).toEqual([]);
    await cluster?.stop();
  });

  describeAttacks({
    name: 'Kubernetes in front of bubblewrap',
    async open() {
      const opened = await startTestCluster(WORK_DIR);
      cluster = opened;
      const backend = createKubernetesBackend({ ...opened.deps, clock: systemClock, log: silentLog });
      const { hasForks } = opened.kubelet;
      return { execution: testExecution(backend), findTraces: opened.findTraces, hasForks, hasProc: false };
    },
    runtimes: process.arch === 'x64' ? ['python', 'node', 'elf'] : ['python', 'node'],
  });
});
