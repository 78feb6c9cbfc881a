import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import type { RootPlan, RootPrograms } from './build-root.ts';
import { findLibraries, libraryPathOf, planFile, planOwnFile, toRootPath } from './root-files.ts';

/** The root with the gateway's own Node: the binary and the shared libraries it needs, and nothing else. */
export async function planNodeRoot(programs: RootPrograms): Promise<Omit<RootPlan, 'kind' | 'recipe'>> {
  const version = await readVersion(programs.node);
  const binaries = [programs.node, programs.prlimit];
  const files = [
    await planFile(programs.node, NODE),
    await planFile(programs.prlimit),
    await planOwnFile(BOOTSTRAP_SOURCE, BOOTSTRAP),
    await planOwnFile(EGRESS_SOURCE, EGRESS),
    ...(await findLibraries(programs.ldd, binaries)),
  ];
  return {
    version,
    files,
    finish: async () => {},
    command: [NODE, ...OPTIONS, BOOTSTRAP],
    environment: {
      NODE_ENV: 'production',
      UV_THREADPOOL_SIZE: '2',
      // There is no folder to look for it in.
      NODE_REPL_HISTORY: '',
      ...libraryPathOf(files),
    },
    prlimit: toRootPath(programs.prlimit),
  };
}

const NODE = '/usr/bin/node';
/** A jail has one processor, and each thread counts against its processes. */
const OPTIONS = ['--v8-pool-size=2'];
const BOOTSTRAP = '/usr/lib/millicent/bootstrap.cjs';
const BOOTSTRAP_SOURCE = join(import.meta.dirname, '../bootstraps/node.cjs');
const EGRESS = '/usr/lib/millicent/egress.cjs';
const EGRESS_SOURCE = join(import.meta.dirname, '../bootstraps/egress.cjs');
const RUN_TIMEOUT_MS = 20_000;
const MAJOR_MINIMUM = 20;

const versionSchema = z.string().regex(/^\d+\.\d+\.\d+/);
const run = promisify(execFile);

/** Without our environment: NODE_OPTIONS and the like are the operator's, not the jail's. */
async function readVersion(path: string): Promise<string> {
  const { stdout } = await run(path, ['-p', 'process.versions.node'], { env: {}, timeout: RUN_TIMEOUT_MS });
  const version = versionSchema.parse(stdout.trim());
  if (Number.parseInt(version, 10) < MAJOR_MINIMUM) {
    throw new Error(`${path} is Node ${version}; hosted tools need ${MAJOR_MINIMUM} or newer.`);
  }
  return version;
}
