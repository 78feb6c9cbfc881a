import { randomBytes } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Event } from 'lightningdevkit';
import { type Book, readBook } from './book.ts';
import type { ChainView } from './chain.ts';
import { type Journal, type MonitorWrite, openJournal } from './journal.ts';
import { toHex } from './ldk.ts';
import { createLdkParts, type LdkParts } from './ldk-parts.ts';
import { createPump } from './pump.ts';

/** A running Lightning node with its book; see README.md for what is kept when. */
export type LightningNode = {
  /** The public key others know it by, in hex. */
  id: string;
  parts: LdkParts;
  book: Book;
  height(): number;
  /**
   * Lets LDK work off what was just asked of it. Resolves when that and every change of the book so far is in
   * the journal: nothing may be answered before.
   */
  commit(): Promise<void>;
  /** Runs `work` outside of LDK's callbacks, and keeps what comes of it together with what led to it. */
  later(work: () => void): void;
  /** Called with every event of LDK, before what came of it is kept. Must not throw. */
  onEvent(listener: (event: Event) => void): void;
  /** Called with every new height. */
  onHeight(listener: (height: number) => void): void;
  /** Called after each time something was kept; returns how to stop it. */
  onCommit(listener: () => void): () => void;
  close(): void;
};

export type NodeDeps = {
  folder: string;
  chain: ChainView;
  nowSeconds: () => number;
  /** The node cannot go on: end the process, and the next start finds it as it was last kept. */
  fail: (cause: unknown) => void;
};

/** Beyond this the journal is written anew, so that a start reads little. */
const JOURNAL_GROWTH_MAX_BYTES = 16 * 1024 * 1024;
const PEER_TICK_MS = 10_000;
const MANAGER_TICK_MS = 60_000;

/** Opens the node of a folder, or makes one. The folder must be locked by the caller. */
export async function openNode(deps: NodeDeps): Promise<LightningNode> {
  mkdirSync(deps.folder, { recursive: true, mode: 0o700 });
  const journal = openJournal(join(deps.folder, 'journal'));
  const book = readBook(journal.kept.entries);
  const seed = readSeed(join(deps.folder, 'seed'));
  const parts = await createLdkParts({ ...deps, seed, kept: journal.kept });
  const rewrite = () =>
    journal.rewrite({
      manager: parts.manager.write(),
      entries: book.allEntries(deps.nowSeconds() * 1000),
    });
  rewrite();

  const keep = createKeeper(parts, book, journal);
  const tidy = () => {
    if (journal.grown() > JOURNAL_GROWTH_MAX_BYTES) rewrite();
  };
  const pump = createPump({ parts, keep, tidy, fail: deps.fail });
  const stopFollowing = deps.chain.follow(parts.height, (block) => {
    parts.connectBlock(block);
    parts.height = block.height;
    pump.tellHeight(block.height);
    void pump.commit();
  });
  const ticks = [
    setInterval(() => pump.run(() => parts.peerManager.timer_tick_occurred()), PEER_TICK_MS),
    setInterval(() => pump.run(() => parts.manager.timer_tick_occurred()), MANAGER_TICK_MS),
  ];
  return {
    id: toHex(parts.manager.get_our_node_id()),
    parts,
    book,
    height: () => parts.height,
    commit: pump.commit,
    later: pump.later,
    onEvent: pump.onEvent,
    onHeight: pump.onHeight,
    onCommit: pump.onCommit,
    close: () => {
      for (const tick of ticks) clearInterval(tick);
      stopFollowing();
      pump.close();
      journal.close();
    },
  };
}

/**
 * One atomic step: what LDK did and what the book says of it. True when LDK may go on with something.
 *
 * A manager that is kept says itself which steps of its monitors are not confirmed yet, so these are safe once
 * it is in the journal, and only then LDK hears so. The monitors follow when nothing is left unconfirmed: LDK
 * 0.1 cannot read a manager in the middle of a claim beside a monitor that knows the preimage already.
 */
function createKeeper(parts: LdkParts, book: Book, journal: Journal): () => boolean {
  let confirmed: MonitorWrite[] = [];
  return () => {
    const steps = parts.takeSteps();
    const entries = book.takeEntries();
    const isManagerChanged = parts.manager.get_and_clear_needs_persistence();
    const isQuiet = steps.length === 0;
    if (isQuiet && confirmed.length === 0 && entries.length === 0 && !isManagerChanged) return false;
    const first = steps.filter(({ isFirst }) => isFirst).map(({ write }) => write);
    journal.append({ manager: parts.manager.write(), monitors: isQuiet ? confirmed : first, entries });
    if (isQuiet) confirmed = [];
    for (const { write, isFirst, confirm } of steps) {
      if (!isFirst) confirmed.push(write);
      if (confirm) parts.chainMonitor.channel_monitor_updated(confirm.outpoint, confirm.updateId);
    }
    return !isQuiet;
  };
}

/** 32 bytes that every key of the node comes from. */
function readSeed(path: string): Uint8Array {
  if (!existsSync(path)) {
    writeFileSync(`${path}.draft`, randomBytes(32), { mode: 0o600 });
    renameSync(`${path}.draft`, path);
  }
  chmodSync(path, 0o600);
  return new Uint8Array(readFileSync(path));
}
