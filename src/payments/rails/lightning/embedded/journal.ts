import {
  closeSync,
  existsSync,
  fstatSync,
  openSync,
  readFileSync,
  renameSync,
  truncateSync,
  writeSync,
} from 'node:fs';
import { sha256 } from '../../../../core/bytes.ts';

/** Everything that became true at one moment; all of it is kept, or nothing. */
export type Commit = {
  /** The channel manager, whole; absent when it is as before. */
  manager?: Uint8Array;
  monitors: MonitorWrite[];
  /** Lines of the book. */
  entries: string[];
};

/** A channel monitor, whole or one step further. `channel` is its funding outpoint in hex. */
export type MonitorWrite = { channel: string; kind: 'whole' | 'update'; bytes: Uint8Array };

/** What all commits add up to. */
export type Kept = {
  manager: Uint8Array | undefined;
  monitors: Map<string, { whole: Uint8Array; updates: Uint8Array[] }>;
  entries: string[];
};

/**
 * The node's one file: commits in order. LDK's manager, its monitors and our own book must agree with each
 * other after any crash (a monitor ahead of its manager force-closes the channel), so they are written
 * together, in one append; half an append is cut off when the file is read again.
 */
export type Journal = {
  /** What was found when it was opened. */
  kept: Kept;
  append(commit: Commit): void;
  /** Bytes since the last rewrite. */
  grown(): number;
  /** Replaces all commits by one that says the same, given all but the monitors. */
  rewrite(commit: Omit<Commit, 'monitors'>): void;
  close(): void;
};

const HEAD_BYTES = 12;
const CHECKSUM_BYTES = 8;
const TAGS = { manager: 1, whole: 2, update: 3, entry: 4 } as const;

export function openJournal(path: string): Journal {
  const kept: Kept = { manager: undefined, monitors: new Map(), entries: [] };
  readCommits(path, kept);
  let file = openSync(path, 'a', 0o600);
  let start = fstatSync(file).size;
  let size = start;
  const write = (target: number, commit: Commit) => {
    const frame = encode(commit);
    for (let at = 0; at < frame.length; ) at += writeSync(target, frame, at);
    return frame.length;
  };
  return {
    kept,
    append: (commit) => {
      size += write(file, commit);
      for (const monitor of commit.monitors) noteMonitor(kept.monitors, monitor);
    },
    grown: () => size - start,
    rewrite: (commit) => {
      const draft = openSync(`${path}.draft`, 'w', 0o600);
      start = write(draft, { ...commit, monitors: listMonitors(kept.monitors) });
      size = start;
      // Renamed into place: a crash leaves the old file or the new one.
      renameSync(`${path}.draft`, path);
      closeSync(file);
      file = draft;
    },
    close: () => closeSync(file),
  };
}

function noteMonitor(monitors: Kept['monitors'], { channel, kind, bytes }: MonitorWrite): void {
  if (kind === 'whole') monitors.set(channel, { whole: bytes, updates: [] });
  else monitors.get(channel)?.updates.push(bytes);
}

function listMonitors(monitors: Kept['monitors']): MonitorWrite[] {
  return [...monitors].flatMap(([channel, { whole, updates }]): MonitorWrite[] => [
    { channel, kind: 'whole', bytes: whole },
    ...updates.map((bytes): MonitorWrite => ({ channel, kind: 'update', bytes })),
  ]);
}

function encode(commit: Commit): Buffer {
  const sections = [
    ...(commit.manager === undefined ? [] : [section(TAGS.manager, '', commit.manager)]),
    ...commit.monitors.map(({ channel, kind, bytes }) => section(TAGS[kind], channel, bytes)),
    ...commit.entries.map((entry) => section(TAGS.entry, '', Buffer.from(entry))),
  ];
  const body = Buffer.concat(sections.flat());
  const head = Buffer.alloc(HEAD_BYTES);
  head.writeUInt32LE(body.length);
  sha256(body).copy(head, 4, 0, CHECKSUM_BYTES);
  return Buffer.concat([head, body]);
}

function section(tag: number, channel: string, bytes: Uint8Array): Uint8Array[] {
  const name = Buffer.from(channel, 'hex');
  const head = Buffer.alloc(6);
  head.writeUInt8(tag);
  head.writeUInt8(name.length, 1);
  head.writeUInt32LE(bytes.length, 2);
  return [head, name, bytes];
}

function readCommits(path: string, kept: Kept): void {
  if (!existsSync(path)) return;
  const file = readFileSync(path);
  let at = 0;
  for (;;) {
    const body = readBody(file, at);
    if (body === undefined) break;
    applyCommit(body, kept);
    at += HEAD_BYTES + body.length;
  }
  if (at < file.length) truncateSync(path, at);
}

function readBody(file: Buffer, at: number): Buffer | undefined {
  if (at + HEAD_BYTES > file.length) return undefined;
  const start = at + HEAD_BYTES;
  const body = file.subarray(start, start + file.readUInt32LE(at));
  const checksum = file.subarray(at + 4, start);
  return sha256(body).subarray(0, CHECKSUM_BYTES).equals(checksum) ? body : undefined;
}

function applyCommit(body: Buffer, kept: Kept): void {
  for (let at = 0; at < body.length; ) {
    const [tag, nameBytes, bytes] = [body.readUInt8(at), body.readUInt8(at + 1), body.readUInt32LE(at + 2)];
    const start = at + 6 + nameBytes;
    const channel = body.toString('hex', at + 6, start);
    // A copy, because LDK reads from the beginning of the underlying memory.
    const content = new Uint8Array(body.subarray(start, start + bytes));
    at = start + bytes;
    if (tag === TAGS.manager) kept.manager = content;
    else if (tag === TAGS.whole) noteMonitor(kept.monitors, { channel, kind: 'whole', bytes: content });
    else if (tag === TAGS.update) noteMonitor(kept.monitors, { channel, kind: 'update', bytes: content });
    else if (tag === TAGS.entry) kept.entries.push(Buffer.from(content).toString('utf8'));
    else throw new Error('the journal was written by a newer version');
  }
}
