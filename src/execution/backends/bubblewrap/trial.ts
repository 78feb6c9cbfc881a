import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { writeArchive } from '../../../core/archive.ts';
import type { Code, Jail, JailSpec } from '../../backend.ts';
import { injectCode, READY_LINE } from '../../inject.ts';
import { DEFAULT_LIMITS } from '../../limits.ts';

/** What a trial runs: nothing but questions about the jail it is in. */
const TRIAL_CODE: Code = {
  sha256: '',
  runtime: 'python',
  entrypoint: 'trial.py',
  archive: writeArchive(
    new Map([
      [
        'trial.py',
        Buffer.from(`
import errno, json, os, socket

def attempt(action):
    try:
        action()
        return 'allowed'
    except OSError as error:
        return errno.errorcode.get(error.errno, str(error.errno))

def fork():
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)

print(json.dumps({
    'uid': os.getuid(),
    'filter': attempt(lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW)),
    'network': attempt(lambda: socket.socket().connect(('192.0.2.1', 9))),
    'root': attempt(lambda: open('/trial', 'w')),
    'tmp': attempt(lambda: open('/tmp/trial', 'w').close()),
    'fork': attempt(fork),
}))
`),
      ],
    ]),
  ),
};

const TRIAL_TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 4096;

export const TRIAL_SPEC: JailSpec = { runtime: 'python', limits: DEFAULT_LIMITS };

const answerSchema = z.object({
  uid: z.literal(65534),
  filter: z.literal('EAFNOSUPPORT'),
  // Without control groups there is not even a socket to try it with.
  network: z.enum(['ENETUNREACH', 'EAFNOSUPPORT']),
  root: z.literal('EROFS'),
  tmp: z.literal('allowed'),
  fork: z.string(),
});

/** Whether a jail really is one. Undefined when it is; else what went wrong, for the operator. */
export async function judgeTrial(jail: Jail, canFork: boolean): Promise<string | undefined> {
  const timer = setTimeout(() => void jail.kill('timeout').catch(() => {}), TRIAL_TIMEOUT_MS);
  try {
    injectCode(jail, TRIAL_CODE);
    const [written, errors] = await Promise.all([text(jail.stdout), text(jail.stderr)]);
    const exit = await jail.exit;
    if (exit.isBackendFailure || exit.code !== 0) {
      return errors.trim().slice(0, 400) || `it ended with ${exit.signal ?? `exit code ${exit.code}`}`;
    }
    const output = written.slice(READY_LINE.length + 1);
    const answer = answerSchema.safeParse(JSON.parse(output.slice(0, ANSWER_BYTES_MAX)));
    if (!answer.success) return `a trial jail isolates too little: ${output.trim().slice(0, 300)}`;
    const expected = canFork ? 'allowed' : 'EPERM';
    return answer.data.fork === expected
      ? undefined
      : `fork was answered with ${answer.data.fork}, not ${expected}`;
  } finally {
    clearTimeout(timer);
    await jail.kill('done');
  }
}
