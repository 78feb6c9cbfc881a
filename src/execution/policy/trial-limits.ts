import { z } from 'zod';
import type { Jail, JailSpec } from '../backend.ts';
import { injectCode } from '../inject.ts';
import { DEFAULT_LIMITS, LIMIT_FLOORS } from '../limits.ts';
import { runTrial, type StartTrial, trialCode } from './trial.ts';

const SMALL: JailSpec['limits'] = {
  ...DEFAULT_LIMITS,
  memoryBytesMax: LIMIT_FLOORS.memoryBytesMax,
  pidsMax: 8,
};

/** Whether the kernel really ends a jail's wish for more processes; else what happened instead. */
export async function judgePids(start: StartTrial): Promise<string | undefined> {
  const trial = await runTrial((spec) => start({ ...spec, limits: SMALL }), PIDS_TRIAL, pidsSchema);
  if (trial.kind === 'failed') return trial.why;
  const { processes } = trial.answer;
  return processes > SMALL.pidsMax
    ? `a jail of ${SMALL.pidsMax} processes could start ${processes}`
    : undefined;
}

const PIDS_TRIAL = trialCode(
  'python',
  'trial.py',
  `
import json, os, signal
children = []
try:
    while len(children) < 16:
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
except OSError:
    pass
for child in children:
    os.kill(child, signal.SIGKILL)
print(json.dumps({'processes': len(children) + 1}))
`,
);
const pidsSchema = z.object({ processes: z.int() });

const MEMORY_TRIAL = trialCode('python', 'trial.py', `held = b'x' * ${4 * SMALL.memoryBytesMax}`);
const MEMORY_TIMEOUT_MS = 10_000;

/** Whether the kernel really ends a jail that takes too much memory, and says so; else what happened instead. */
export async function judgeMemory(start: StartTrial): Promise<string | undefined> {
  const jail: Jail = await start({ runtime: 'python', limits: SMALL });
  const timer = setTimeout(() => void jail.kill('timeout').catch(() => {}), MEMORY_TIMEOUT_MS);
  try {
    jail.stdout.resume();
    jail.stderr.resume();
    injectCode(jail, MEMORY_TRIAL);
    const { isOutOfMemory, code, signal } = await jail.exit;
    if (isOutOfMemory) return undefined;
    return `a jail that took too much memory was not ended for it (${signal ?? `exit code ${code}`})`;
  } finally {
    clearTimeout(timer);
    await jail.kill('done');
  }
}
