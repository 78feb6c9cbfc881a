import { expect } from 'vitest';
import { describeAttacks } from './attack-suite.ts';
import { findLastingTraces, testBackend, testExecution } from './harness.ts';

const X64_ONLY = process.arch === 'x64' ? (['elf'] as const) : [];

describeAttacks({
  name: 'bubblewrap and control groups',
  async open() {
    const execution = testExecution(testBackend());
    expect(await execution.status()).toMatchObject({ capabilities: { memory: 'cgroup' } });
    return { execution, findTraces: listTraces, hasForks: true, hasProc: false };
  },
  runtimes: ['python', 'node', ...X64_ONLY],
});

describeAttacks({
  name: 'bubblewrap without control groups',
  async open() {
    const execution = testExecution(testBackend({ cgroups: 'off' }));
    expect(await execution.status()).toMatchObject({ capabilities: { memory: 'rlimit', egress: 'none' } });
    return { execution, findTraces: listTraces, hasForks: false, hasProc: false };
  },
  runtimes: ['python', ...X64_ONLY],
});

async function listTraces(): Promise<string[]> {
  const { processes, cgroups, folders } = await findLastingTraces();
  return [...processes, ...cgroups, ...folders];
}
