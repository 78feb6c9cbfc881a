import { z } from 'zod';
import type { Jail, JailSpec } from '../../backend.ts';
import { injectCode } from '../../inject.ts';
import { DEFAULT_LIMITS, LIMIT_FLOORS } from '../../limits.ts';
import {
  judgeNodeTrial,
  judgePythonTrial,
  runTrial,
  type StartTrial,
  trialCode,
} from '../../policy/trial.ts';
import type { Runtime } from './container-options.ts';
import type { EngineFacts } from './engine-check.ts';

export type TrialInput = { start: StartTrial; runtime: Runtime; facts: EngineFacts };

/**
 * Whether jails of an engine are jails: who they run as, what they reach, and that its limits end what exceeds
 * them. Undefined when they are; else what went wrong, for the operator.
 */
export async function judgeJails(input: TrialInput): Promise<string | undefined> {
  const trials =
    input.runtime === 'runsc'
      ? [judgeGvisor(input), judgeMemory(input.start)]
      : [judgePythonTrial(input.start, true), judgePids(input.start), judgeMemory(input.start)];
  const answers = await Promise.all(trials);
  return answers.find((why) => why !== undefined);
}

/** Node is offered only when it works there. */
export function judgeNode({ start }: TrialInput): Promise<string | undefined> {
  return judgeNodeTrial(start);
}

const SMALL: JailSpec['limits'] = {
  ...DEFAULT_LIMITS,
  memoryBytesMax: LIMIT_FLOORS.memoryBytesMax,
  pidsMax: 8,
};

/** A kernel of its own answers for the network and the calls; that it is another one is what shows it. */
async function judgeGvisor({ start, facts }: TrialInput): Promise<string | undefined> {
  const trial = await runTrial(start, GVISOR_TRIAL, gvisorSchema);
  if (trial.kind === 'failed') return trial.why;
  return trial.answer.kernel === facts.kernel
    ? `a jail that gVisor should run sees the machine's own kernel (${facts.kernel})`
    : undefined;
}

const GVISOR_TRIAL = trialCode(
  'python',
  'trial.py',
  `
import errno, json, os, socket

def attempt(action):
    try:
        action()
        return 'allowed'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))

print(json.dumps({
    'kernel': os.uname().release,
    'uid': os.getuid(),
    'network': attempt(lambda: socket.socket().connect(('192.0.2.1', 9))),
    'root': attempt(lambda: open('/trial', 'w')),
    'tmp': attempt(lambda: open('/tmp/trial', 'w').close()),
}))
`,
);
const gvisorSchema = z.object({
  kernel: z.string(),
  uid: z.literal(65534),
  network: z.enum(['ENETUNREACH', 'EHOSTUNREACH']),
  root: z.literal('EROFS'),
  tmp: z.literal('allowed'),
});

async function judgePids(start: StartTrial): Promise<string | undefined> {
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
    while len(children) < 64:
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

async function judgeMemory(start: StartTrial): Promise<string | undefined> {
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
