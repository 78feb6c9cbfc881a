import { createHook } from 'node:async_hooks';
import { Session } from 'node:inspector/promises';

/**
 * Loaded into a gateway before its own code: profiles it when the bench asks over IPC, and counts crypto that left the
 * main thread, which no profile shows. Idle until it is asked.
 */
const SAMPLING_MICROS = 200;

/** What Node calls the jobs of its crypto; they come back through the event loop when another thread did them. */
const CRYPTO_JOB =
  /^(?:HASH|SIGN|VERIFY|HMAC|CIPHER|DERIVEBITS|KEYEXPORT|KEYGEN|KEYPAIRGEN|RANDOMBYTES|RANDOMPRIME|CHECKPRIME|PBKDF2|SCRYPT|HKDF)/;

const session = new Session();
session.connect();

let jobs = 0;
const open = new Set<number>();
const hook = createHook({
  init(id, type) {
    if (CRYPTO_JOB.test(type)) open.add(id);
  },
  // Never reached by a job that was done at once, on the main thread.
  before(id) {
    if (open.has(id)) jobs++;
  },
  destroy(id) {
    open.delete(id);
  },
});

const ANSWERS: Record<string, () => Promise<object>> = {
  async 'watch-jobs'() {
    hook.enable();
    return {};
  },
  async 'count-jobs'() {
    hook.disable();
    open.clear();
    return { jobs };
  },
  async 'start-profile'() {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLING_MICROS });
    await session.post('Profiler.start');
    return {};
  },
  async 'stop-profile'() {
    const { profile } = await session.post('Profiler.stop');
    return { profile };
  },
};

process.on('message', (message: { kind?: string }) => {
  const { kind = '' } = message;
  ANSWERS[kind]?.().then((answer) => process.send?.({ kind, ...answer }));
});
// The channel keeps no gateway alive that is asked to stop.
process.channel?.unref();
