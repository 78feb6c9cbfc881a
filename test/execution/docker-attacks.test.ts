import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { createDockerBackend } from '../../src/execution/backends/docker/index.ts';
import { explainNoEngine, startTestEngine, type TestEngine } from '../harness/docker.ts';
import { describeAttacks } from './attack-suite.ts';
import { testExecution } from './harness.ts';

const noEngine = await explainNoEngine();
if (noEngine !== undefined) console.warn(noEngine);

describe.skipIf(noEngine !== undefined)('on a Docker engine', () => {
  const workDir = mkdtempSync(join(tmpdir(), 'millicent-docker-'));
  let engine: TestEngine | undefined;

  beforeAll(async () => {
    engine = await startTestEngine();
  }, 90_000);
  afterAll(async () => {
    await engine?.stop();
    rmSync(workDir, { recursive: true, force: true });
  }, 60_000);

  describeAttacks({
    name: 'Docker and runc',
    async open() {
      if (engine === undefined) throw new Error('the engine did not start');
      const { socketPath, findTraces } = engine;
      const backend = createDockerBackend({
        ...{ hosts: [{ kind: 'unix', socketPath }], workDir, clock: systemClock, log: silentLog },
      });
      return { execution: testExecution(backend), findTraces, hasForks: true, hasProc: true };
    },
    runtimes: process.arch === 'x64' ? ['python', 'node', 'elf'] : ['python', 'node'],
  });
});
