import { z } from 'zod';
import {
  judgeNodeTrial,
  judgePythonTrial,
  runTrial,
  type StartTrial,
  trialCode,
} from '../../policy/trial.ts';
import { judgeMemory, judgePids } from '../../policy/trial-limits.ts';
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
