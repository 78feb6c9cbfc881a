import type { Uuid } from '../../core/ids.ts';
import { Problem } from '../../core/problem.ts';
import type { Tx } from '../../db/index.ts';
import { wordsOf } from '../search/words.ts';
import { lockServer, pauseServer } from '../store.ts';
import { isVersionNumber } from '../version-number.ts';
import { findNewestLeft, findYankable, insertYank, type LeftVersionRow, setLatestVersion } from './store.ts';

/** What the version log is told of a version that is taken back. */
export type YankLeaf = { name: string; version: string; publisherId: Uuid; yankedAt: Date };

export type YankInput = {
  serverId: Uuid;
  version: string;
  publisherId: Uuid;
  yankedAt: Date;
  /** Called in the same transaction: the log stays locked until it commits. */
  appendLeaf(leaf: YankLeaf): Promise<bigint>;
};

export type Yanked = {
  name: string;
  version: string;
  logIndex: bigint;
  yankedAt: Date;
  /** False when it was yanked before, and nothing was done. */
  isNew: boolean;
  /** What is listed from now on; null when every version of the server is yanked. */
  currentVersion: string | null;
};

const NOTHING_LEFT = 'Its publisher took every version of it back.';

/**
 * Takes a version back: nothing new starts on it. The newest one that is left becomes the listing's; a server without
 * any is off every list until its next version. Whose server it is and which yank came first is decided under the
 * server's lock.
 */
export async function yankVersion(tx: Tx, input: YankInput): Promise<Yanked> {
  const { serverId, version, publisherId, yankedAt } = input;
  const server = await lockServer(tx, { id: serverId, publisherId });
  // Someone else's server is as unknown as one that never was.
  if (!server) throw new Problem('not-found', { detail: 'You have no server with this id.' });
  const { name } = server;
  const found = isVersionNumber(version) ? await findYankable(tx, { serverId, version }) : undefined;
  if (!found) throw new Problem('not-found', { detail: `${name} has no version ${version}.` });
  const left = await findNewestLeft(tx, { serverId, exceptId: found.id });
  const current = { name, version, currentVersion: left?.version ?? null };
  if (found.yankedAt && found.logIndex !== null) {
    return { ...current, logIndex: found.logIndex, yankedAt: found.yankedAt, isNew: false };
  }
  if (left) await showVersion(tx, { serverId, name, left });
  else await pauseServer(tx, { id: serverId, reason: NOTHING_LEFT, pausedAt: yankedAt });
  const logIndex = await input.appendLeaf({ name, version, publisherId, yankedAt });
  await insertYank(tx, { versionId: found.id, logIndex, yankedAt });
  return { ...current, logIndex, yankedAt, isNew: true };
}

/** The listing stays found by its description, and by the tools that it has now. */
async function showVersion(
  tx: Tx,
  { serverId, name, left }: { serverId: Uuid; name: string; left: LeftVersionRow },
): Promise<void> {
  await setLatestVersion(tx, {
    ...{ serverId, versionId: left.id, runtime: left.runtime },
    searchNames: wordsOf(name, ...left.toolNames).join(' '),
    searchText: wordsOf(left.description, ...left.category).join(' '),
  });
}
