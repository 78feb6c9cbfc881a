import { text } from 'node:stream/consumers';
import { z } from 'zod';
import { writeArchive } from '../../core/archive.ts';
import type { Code, Jail, JailSpec, Runtime } from '../backend.ts';
import { injectCode, READY_LINE } from '../inject.ts';
import { DEFAULT_LIMITS } from '../limits.ts';

/** How a backend starts one jail of its own, to find out what it is worth. */
export type StartTrial = (spec: JailSpec) => Promise<Jail>;

/** Whether a jail really is one. Undefined when it is; else what went wrong, for the operator. */
export async function judgePythonTrial(start: StartTrial, canFork: boolean): Promise<string | undefined> {
  const trial = await runTrial(start, PYTHON_TRIAL, pythonAnswerSchema);
  if (trial.kind === 'failed') return trial.why;
  const expected = canFork ? 'allowed' : 'EPERM';
  const { fork } = trial.answer;
  return fork === expected ? undefined : `fork was answered with ${fork}, not ${expected}`;
}

/** Whether this machine's Node works in a jail, which is one if Python's is. */
export async function judgeNodeTrial(start: StartTrial): Promise<string | undefined> {
  const trial = await runTrial(start, NODE_TRIAL, nodeAnswerSchema);
  return trial.kind === 'failed' ? trial.why : undefined;
}

/** A program of one file. */
export function trialCode(runtime: Runtime, entrypoint: string, source: string): Code {
  const archive = writeArchive(new Map([[entrypoint, Buffer.from(source)]]));
  return { sha256: '', runtime, entrypoint, archive };
}

/** Nothing but questions about the jail it is in. */
const PYTHON_TRIAL = trialCode(
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
`,
);

const NODE_TRIAL = trialCode(
  'node',
  'trial.mjs',
  `
import { writeFileSync } from 'node:fs';

function attempt(path) {
  try {
    writeFileSync(path, '');
    return 'allowed';
  } catch (error) {
    return error.code;
  }
}

console.log(JSON.stringify({ uid: process.getuid(), root: attempt('/trial'), tmp: attempt('/tmp/trial') }));
`,
);

const TRIAL_TIMEOUT_MS = 10_000;
const ANSWER_BYTES_MAX = 4096;

const nodeAnswerSchema = z.object({
  uid: z.literal(65534),
  root: z.literal('EROFS'),
  tmp: z.literal('allowed'),
});
const pythonAnswerSchema = nodeAnswerSchema.extend({
  filter: z.literal('EAFNOSUPPORT'),
  // Without control groups there is not even a socket to try it with.
  network: z.enum(['ENETUNREACH', 'EAFNOSUPPORT']),
  fork: z.string(),
});

export type Trial<T> = { kind: 'answered'; answer: T } | { kind: 'failed'; why: string };

/** Runs a program to its end in a jail of its own; what it printed is its answer. */
export async function runTrial<T>(start: StartTrial, code: Code, schema: z.ZodType<T>): Promise<Trial<T>> {
  const jail = await start({ runtime: code.runtime, limits: DEFAULT_LIMITS });
  const timer = setTimeout(() => void jail.kill('timeout').catch(() => {}), TRIAL_TIMEOUT_MS);
  try {
    // A jail that never came to be has nobody who reads; how it ended is told below.
    jail.stdin.on('error', () => {});
    injectCode(jail, code);
    const [written, errors] = await Promise.all([text(jail.stdout), text(jail.stderr)]);
    const exit = await jail.exit;
    if (exit.isBackendFailure || exit.code !== 0) {
      const why = errors.trim().slice(0, 400);
      return { kind: 'failed', why: why || `it ended with ${exit.signal ?? `exit code ${exit.code}`}` };
    }
    const output = written.slice(READY_LINE.length + 1);
    const answer = schema.safeParse(JSON.parse(output.slice(0, ANSWER_BYTES_MAX)));
    if (answer.success) return { kind: 'answered', answer: answer.data };
    return { kind: 'failed', why: `a trial jail isolates too little: ${output.trim().slice(0, 300)}` };
  } finally {
    clearTimeout(timer);
    await jail.kill('done');
  }
}
