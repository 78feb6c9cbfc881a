import { resolve } from 'node:path';
import type { Json } from '../core/canonical-json.ts';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import { createBubblewrapBackend, defaultWorkDir } from '../execution/backends/bubblewrap/index.ts';
import {
  type Code,
  createExecution,
  createNoRemote,
  type Limits,
  type Outcome,
  type Runtime,
} from '../execution/index.ts';

/** One call of code that anyone may run again. */
export type RunAgain = { code: Code; limits: Limits; tool: string; arguments: { [key: string]: Json } };

/** The sandbox of this machine without a gateway around it: no database, no network, one jail at a time. */
export type Reproducer = {
  /** The root that code of this runtime runs on here, hex. Throws when nothing can run here, and says why. */
  findRoot(runtime: Runtime): Promise<string>;
  run(call: RunAgain, signal: AbortSignal): Promise<Outcome>;
  close(): Promise<void>;
};

export function createReproducer(where: { workDir: string | undefined }): Reproducer {
  const workDir = where.workDir ?? defaultWorkDir(resolve('.millicent'));
  const parts = { clock: systemClock, log: silentLog };
  const execution = createExecution({
    ...parts,
    backend: createBubblewrapBackend({ ...parts, workDir }),
    remote: createNoRemote(),
    ...{ concurrencyMax: 1, queueMax: 1, poolMemoryBytesMax: 0 },
  });
  return {
    async findRoot(runtime) {
      const status = await execution.status();
      if (status.kind === 'unavailable') throw new Error(`nothing can run on this machine: ${status.detail}`);
      const { roots } = status.capabilities;
      // A static binary runs on Python's root where it has none of its own.
      const root = roots[runtime] ?? (runtime === 'elf' ? roots.python : undefined);
      if (!root) throw new Error(`the sandbox of this machine does not run ${runtime}.`);
      return root.sha256;
    },
    run({ code, limits, tool, arguments: given }, signal) {
      const request = { method: 'tools/call', params: { name: tool, arguments: given } };
      // Whether the result keeps the tool's schema was decided when it was paid for: here its bytes are compared.
      return execution.run(
        {
          ...{ server: { kind: 'hosted', code, limits, hosts: [] }, request, outputSchema: undefined },
          ...{ client: undefined, caller: undefined, events: undefined, logLevel: undefined },
        },
        signal,
      );
    },
    close: () => execution.close(),
  };
}
