import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { CallRefused, createMillicentVerifier, createReplayCache } from '../../src/sdk/server/index.ts';
import { buildGo, requireGo } from '../harness/go.ts';
import { requirePython } from '../harness/python-cryptography.ts';

export type Settings = { issuer: string; audience: string; jwksUrl: string };
export type Shown = { now: number; authorization: string; body: string };
export type Verdict = { verdict: string; call?: unknown[] };

/** One verifier with a memory of its own, whatever it is written in. */
export type TestVerifier = { verify(shown: Shown): Promise<Verdict>; close(): Promise<void> };

export type Language = 'TypeScript' | 'Python' | 'Go';

const ROOT = join(import.meta.dirname, '../..');
const DRIVERS = join(import.meta.dirname, 'drivers');

/** What starts verifiers of a language, once it is ready. */
export async function prepare(language: Language): Promise<(settings: Settings) => TestVerifier> {
  if (language === 'TypeScript') return inProcess;
  if (language === 'Python') {
    const python = requirePython();
    return (settings) => inChild([python, join(DRIVERS, 'verify.py')], settings);
  }
  const why = requireGo();
  if (why !== undefined) throw new Error(why);
  const program = buildGo(join(DRIVERS, 'go'));
  process.once('exit', program.remove);
  return (settings) => inChild([program.path], settings);
}

function inProcess({ issuer, audience, jwksUrl }: Settings): TestVerifier {
  let now = 0;
  const verify = createMillicentVerifier({
    ...{ issuer, audience, jwksUrl, replays: createReplayCache(), now: () => new Date(now * 1000) },
  });
  return {
    async verify(shown) {
      now = shown.now;
      try {
        const call = await verify({ headers: { authorization: shown.authorization }, body: shown.body });
        const { subject, tier, tokenId, callDigest } = call;
        return { verdict: 'ok', call: [call.audience, subject, tier, tokenId, callDigest] };
      } catch (error) {
        if (error instanceof CallRefused) return { verdict: error.reason };
        throw error;
      }
    },
    close: async () => {},
  };
}

function inChild([command = '', ...args]: string[], settings: Settings): TestVerifier {
  const child = spawn(command, args, {
    env: { ...process.env, PYTHONPATH: join(ROOT, 'src/sdk/python'), PYTHONDONTWRITEBYTECODE: '1' },
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  const exited = new Promise<void>((resolve) => child.once('close', () => resolve()));
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  child.stdin.write(`${JSON.stringify(settings)}\n`);
  return {
    async verify(shown) {
      child.stdin.write(`${JSON.stringify(shown)}\n`);
      const line = await lines.next();
      if (line.done) throw new Error(`${command} ended`);
      return JSON.parse(line.value);
    },
    async close() {
      child.stdin.end();
      await exited;
    },
  };
}
