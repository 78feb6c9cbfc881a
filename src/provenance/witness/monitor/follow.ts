import { type Clock, toIsoText } from '../../../core/clock.ts';
import { TILE_WIDTH } from '../../log/tiles/tile.ts';
import type { LogName } from '../../log/transparency-log.ts';
import { type NoteKey, parseLogVkey } from '../../log/vkey.ts';
import { Alarm } from './alarm.ts';
import { fetchTrusted, type TrustedCheckpoint, trust, type WitnessPolicy } from './checkpoint-trust.ts';
import { readNewEntries } from './new-entries.ts';
import { createRemoteLog, type RemoteLog } from './remote-log.ts';
import { type MonitorState, readMonitorState, writeEvidence, writeMonitorState } from './state.ts';
import { openTileTree, type TileTree } from './tile-tree.ts';

export type FollowInput = {
  /** The gateway, without a slash at its end. */
  url: string;
  log: LogName;
  statePath: string;
  /** The log's key, from the operator; without it the first one that is seen is trusted. */
  vkey: string | undefined;
  /** The key that follows the pinned one, from the operator. */
  acceptKey: string | undefined;
  witnesses: WitnessPolicy;
  clock: Clock;
  say(text: string): void;
};

export type Round =
  | { kind: 'empty' }
  | { kind: 'sound'; treeSize: number; added: number; audited: number }
  | { kind: 'alarm'; alarm: Alarm; evidencePath: string };

/** Old bundles of entries that are read again each round, so that one which was rewritten is found in time. */
const AUDITED_AT_ONCE = 8;
const NO_WITNESSES: WitnessPolicy = { keys: [], needed: 0, waitMs: 0 };
const ROUTES = { versions: '/log', receipts: '/log/receipts' } as const satisfies Record<LogName, string>;

/**
 * One round of a monitor: fetches the newest checkpoint and everything that is new, and keeps the checkpoint only
 * when all of it holds. What does not hold is written down as evidence. Rejects when the log cannot be reached.
 */
export async function followLog(input: FollowInput, signal: AbortSignal): Promise<Round> {
  const state = await readMonitorState(input.statePath);
  if (state && state.log !== input.log) throw new Error(`${input.statePath} is of the ${state.log} log`);
  const remote = createRemoteLog(`${input.url}${ROUTES[input.log]}`, signal);
  let [vkey, presented]: (string | undefined)[] = [state?.vkey];
  try {
    const pinned = parseLogVkey(await choosePinned(input, { state, remote }));
    vkey = pinned.vkey;
    const accepted = acceptedKey(input, pinned);
    const trusted = await fetchTrusted(
      remote,
      { pinned, accepted, witnesses: input.witnesses },
      (note) => {
        presented = note;
      },
      signal,
    );
    return await take(input, { state, remote, pinned, trusted });
  } catch (alarm) {
    if (!(alarm instanceof Alarm)) throw alarm;
    const { url, log, clock } = input;
    const known = { url, log, vkey, presented, trusted: state?.checkpoint ?? undefined };
    const evidencePath = await writeEvidence(input.statePath, { ...known, alarm, foundAt: clock.now() });
    return { kind: 'alarm', alarm, evidencePath };
  }
}

type Known = { state: MonitorState | undefined; remote: RemoteLog };

async function choosePinned({ vkey, url, say }: FollowInput, { state, remote }: Known): Promise<string> {
  if (state) {
    if (vkey === undefined || vkey === state.vkey) return state.vkey;
    throw new Error(
      `the key that was trusted so far is ${state.vkey}: --accept-key goes over to another one`,
    );
  }
  if (vkey !== undefined) return vkey;
  const [first] = await remote.readVkeys();
  if (first === undefined) throw new Error(`${url} names no key`);
  say(
    `Trust on first use: nobody vouches for the key ${first}, and from now on the log must sign with it. ` +
      '--vkey takes one that you were given elsewhere.',
  );
  return first;
}

function acceptedKey({ acceptKey }: FollowInput, pinned: NoteKey): NoteKey | undefined {
  if (acceptKey === undefined || acceptKey === pinned.vkey) return undefined;
  const key = parseLogVkey(acceptKey);
  if (key.name !== pinned.name) throw new Error(`${key.name} is another log than ${pinned.name}`);
  return key;
}

type Taken = Known & { pinned: NoteKey; trusted: TrustedCheckpoint | undefined };

async function take(input: FollowInput, { state, remote, pinned, trusted }: Taken): Promise<Round> {
  const before = state?.checkpoint ? trustBefore(input.statePath, state.checkpoint, pinned) : undefined;
  if (!trusted) {
    if (before)
      throw new Alarm('withheld', `there is no checkpoint, and there was one of ${before.treeSize} leaves`);
    await keep(input, { state, key: pinned, checkpoint: null, auditFrom: 0 });
    return { kind: 'empty' };
  }
  for (const keyId of trusted.strangers) {
    input.say(
      `A key ${keyId} signs beside the one that is trusted. One that was there before a rotation needs nothing; ` +
        "the log's next key is taken with --accept-key, once its owner has told you elsewhere that it is.",
    );
  }
  if (before) compare(trusted, before);
  const tree = await openTileTree(remote, trusted);
  const fromSize = before?.treeSize ?? 0;
  if (before && fromSize < trusted.treeSize && !(await tree.rootAt(fromSize)).equals(before.root)) {
    throw new Alarm(
      'inconsistent',
      `the tree of ${trusted.treeSize} leaves does not begin with the tree of ${fromSize} leaves`,
    );
  }
  await readNewEntries(tree, {
    ...{ fromSize, toSize: trusted.treeSize },
    ...{ seenPath: `${input.statePath}.seen`, say: input.say },
  });
  const audited = await auditOld(tree, { from: state?.auditFrom ?? 0, treeSize: fromSize });
  await keep(input, { state, key: trusted.key, checkpoint: trusted.note, auditFrom: audited.next });
  const { treeSize } = trusted;
  return { kind: 'sound', treeSize, added: treeSize - fromSize, audited: audited.bundles };
}

/** What was kept held when it was kept: that it does no longer is no fault of the log. */
function trustBefore(statePath: string, note: string, pinned: NoteKey): TrustedCheckpoint {
  try {
    return trust(note, { pinned, accepted: undefined, witnesses: NO_WITNESSES });
  } catch (cause) {
    throw new Error(`${statePath} is damaged: its checkpoint is not signed by its key`, { cause });
  }
}

function compare(now: TrustedCheckpoint, before: TrustedCheckpoint): void {
  if (now.treeSize < before.treeSize) {
    throw new Alarm('shrunk', `the log had ${before.treeSize} leaves and now says ${now.treeSize}`);
  }
  if (now.treeSize === before.treeSize && !now.root.equals(before.root)) {
    throw new Alarm('fork', `the log signed two roots for ${now.treeSize} leaves`);
  }
}

/** Reads old bundles once more, in turn: each is held against the root, which was held against the old root. */
async function auditOld(
  tree: TileTree,
  { from, treeSize }: { from: number; treeSize: number },
): Promise<{ next: number; bundles: number }> {
  const count = Math.ceil(treeSize / TILE_WIDTH);
  const bundles = Math.min(AUDITED_AT_ONCE, count);
  for (let at = 0; at < bundles; at += 1) await tree.readEntries((from + at) % count);
  return { bundles, next: count === 0 ? 0 : (from + bundles) % count };
}

type Kept = Pick<MonitorState, 'checkpoint' | 'auditFrom'> & {
  state: MonitorState | undefined;
  key: NoteKey;
};

function keep(input: FollowInput, { state, key, checkpoint, auditFrom }: Kept): Promise<void> {
  const { url, log, clock, vkey } = input;
  const isChosen = vkey !== undefined || (state && (state.trust === 'operator' || state.vkey !== key.vkey));
  return writeMonitorState(input.statePath, {
    ...{ format: 'mcp-monitor-state/v1', url, log, vkey: key.vkey, checkpoint, auditFrom },
    ...{ trust: isChosen ? 'operator' : 'first-use', savedAt: toIsoText(clock.now()) },
  });
}
