import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../core/clock.ts';
import { type FollowInput, followLog, type Round } from '../provenance/index.ts';
import { type Command, type CommandInput, textOf, UsageError } from './command.ts';
import { readVkeys, readWitnesses } from './verify/keys.ts';

const EVERY_DEFAULT_SECONDS = 60;
/** Longer ones overflow a timer, which then never waits. */
const COUNT_MAX = 2_000_000;
/** A new checkpoint is cosigned within seconds of its signature. */
const COSIGNED_WITHIN_MS = 30_000;

export const monitorCommand: Command = {
  options: {
    log: { type: 'string', default: 'versions' },
    vkey: { type: 'string' },
    'accept-key': { type: 'string' },
    'witness-key': { type: 'string', multiple: true },
    witnesses: { type: 'string' },
    state: { type: 'string' },
    every: { type: 'string' },
    once: { type: 'boolean', default: false },
  },
  optionTexts: [
    ['--log versions|receipts', 'which log; versions when left out'],
    ['--vkey <vkey>', "the log's key, from a source you trust; left out, the first key seen is trusted"],
    ['--accept-key <vkey>', "the log's next key; taken when the one trusted so far signs beside it"],
    ['--witness-key <vkey>', 'a witness that must cosign; several times for several'],
    ['--witnesses <n>', 'how many of them must; all when left out'],
    ['--state <file>', 'what is known of the log; beside it <file>.seen, and evidence if there is any'],
    ['--every <seconds>', `how often it looks; ${EVERY_DEFAULT_SECONDS} when left out`],
    ['--once', 'look once, and say with the exit code whether everything holds'],
  ],
  run,
};

async function run(input: CommandInput): Promise<number> {
  const { signal, print, complain } = input;
  const follow = readInput(input);
  const everyMs = readCount(input, 'every', EVERY_DEFAULT_SECONDS) * 1_000;
  const isOnce = input.values.once === true;
  while (!signal.aborted) {
    try {
      const round = await followLog(follow, signal);
      if (round.kind === 'alarm') {
        complain(shout(follow, round));
        return 1;
      }
      print(describe(round));
    } catch (cause) {
      if (signal.aborted) break;
      if (isOnce) throw cause;
      complain(cause instanceof Error ? cause.message : String(cause));
    }
    if (isOnce) break;
    await sleep(everyMs, undefined, { signal }).catch(() => {});
  }
  return 0;
}

function readInput(input: CommandInput): FollowInput {
  const log = textOf(input, 'log');
  if (log !== 'versions' && log !== 'receipts') throw new UsageError('--log is versions or receipts');
  const statePath = textOf(input, 'state');
  if (statePath === undefined) throw new UsageError('--state is missing: it is what makes a fork noticed');
  const keys = readWitnesses(input, 'witness-key');
  for (const name of ['vkey', 'accept-key']) readVkeys(input, name);
  const needed = readCount(input, 'witnesses', keys.length);
  if (needed > keys.length)
    throw new UsageError('--witnesses asks for more than there is a --witness-key for');
  return {
    ...{ log, statePath, url: (input.positionals[0] ?? input.url).replace(/\/+$/, '') },
    ...{ vkey: textOf(input, 'vkey'), acceptKey: textOf(input, 'accept-key') },
    ...{ witnesses: { keys, needed, waitMs: COSIGNED_WITHIN_MS }, clock: systemClock, say: input.complain },
  };
}

function readCount(input: CommandInput, option: string, otherwise: number): number {
  const text = textOf(input, option);
  if (text === undefined) return otherwise;
  if (!/^[1-9][0-9]{0,6}$/.test(text) || Number(text) > COUNT_MAX) {
    throw new UsageError(`--${option} is a whole number from 1 to ${COUNT_MAX}`);
  }
  return Number(text);
}

function describe(round: Exclude<Round, { kind: 'alarm' }>): string {
  if (round.kind === 'empty') return 'The log has no checkpoint yet.';
  const { treeSize, added, audited } = round;
  return `Everything holds: ${treeSize} entries, ${added} of them new, ${audited} old bundles read again.`;
}

function shout(
  { url, log }: FollowInput,
  { alarm, evidencePath }: Extract<Round, { kind: 'alarm' }>,
): string {
  return `ALARM (${alarm.kind}): the ${log} log of ${url}: ${alarm.message}\nEvidence: ${evidencePath}`;
}
