import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { encodeCheckpoint } from '../../src/provenance/log/checkpoint.ts';
import { signNote } from '../../src/provenance/log/note.ts';
import { createNoteSigner, type NoteSigner } from '../../src/provenance/log/vkey.ts';
import {
  consistencyProof,
  type Hash,
  leafHashOf,
  merkleRoot,
  rangeHash,
} from '../../src/provenance/merkle/merkle.ts';

/** A log whose operator may do whatever he likes: several of these can share a key. */
export type MemoryLog = {
  signers: readonly NoteSigner[];
  entries: readonly Buffer[];
  append(...entries: (Buffer | string)[]): void;
  root(treeSize?: number): Hash;
  /** A signed checkpoint, of everything unless told. */
  note(treeSize?: number, signers?: readonly NoteSigner[]): string;
  proof(fromSize: number, toSize?: number): Hash[];
  tile(level: number, n: number, width: number): Buffer;
  entryTile(n: number, width: number): Buffer;
};

export function newEd25519Pem(): string {
  return generateKeyPairSync('ed25519').privateKey.export({ type: 'pkcs8', format: 'pem' }).toString();
}

export function newLogSigner(origin: string): NoteSigner {
  return createNoteSigner({ name: origin, privateKeyPem: newEd25519Pem() });
}

export function createMemoryLog(...signers: NoteSigner[]): MemoryLog {
  const entries: Buffer[] = [];
  const leafHashes: Hash[] = [];
  const full = new Map<string, Hash>();
  /** The hash of 256^level leaves. */
  function tileHash(level: number, index: number): Hash {
    if (level === 0) return leafHashes[index] ?? Buffer.alloc(0);
    const name = `${level}/${index}`;
    const known = full.get(name);
    if (known) return known;
    const hash = merkleRoot(Array.from({ length: 256 }, (_, at) => tileHash(level - 1, index * 256 + at)));
    full.set(name, hash);
    return hash;
  }
  /** The hash of 2^level leaves. */
  function node(level: number, index: number): Hash {
    const tileLevel = Math.floor(level / 8);
    const width = 2 ** (level - tileLevel * 8);
    return merkleRoot(Array.from({ length: width }, (_, at) => tileHash(tileLevel, index * width + at)));
  }
  const log: MemoryLog = {
    signers,
    entries,
    append(...added) {
      for (const one of added) {
        const entry = typeof one === 'string' ? Buffer.from(one) : one;
        entries.push(entry);
        leafHashes.push(leafHashOf(entry));
      }
    },
    root: (treeSize = entries.length) => rangeHash(node, 0, treeSize),
    note: (treeSize = entries.length, by = signers) =>
      signNote(encodeCheckpoint({ origin: by[0]?.name ?? '', treeSize, root: log.root(treeSize) }), by),
    proof: (fromSize, toSize = entries.length) => consistencyProof(node, fromSize, toSize),
    tile: (level, n, width) =>
      Buffer.concat(Array.from({ length: width }, (_, at) => tileHash(level, n * 256 + at))),
    entryTile: (n, width) =>
      Buffer.concat(
        entries.slice(n * 256, n * 256 + width).flatMap((entry) => {
          const length = Buffer.alloc(2);
          length.writeUInt16BE(entry.length);
          return [length, entry];
        }),
      ),
  };
  return log;
}

export type Served = { status?: number; body: Buffer | string };

/** Serves whatever log is in `shown` at the moment; `answer` may answer a path otherwise. */
export type ServedLog = {
  url: string;
  shown: MemoryLog;
  answer: ((path: string) => Served | undefined) | undefined;
  /** Every path that was asked for. */
  asked: string[];
  close(): Promise<void>;
};

export async function serveMemoryLog(log: MemoryLog): Promise<ServedLog> {
  const server = createServer((request, response) => {
    const path = request.url ?? '';
    served.asked.push(path);
    const { status = 200, body } = served.answer?.(path) ?? answerPath(served.shown, path);
    response.writeHead(status).end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const served: ServedLog = {
    url: `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`,
    shown: log,
    answer: undefined,
    asked: [],
    async close() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  return served;
}

function answerPath(log: MemoryLog, path: string): Served {
  if (path === '/log/checkpoint') {
    return log.entries.length === 0 ? { status: 404, body: '' } : { body: log.note() };
  }
  if (path === '/log/vkey') return { body: log.signers.map(({ vkey }) => `${vkey}\n`).join('') };
  const [, kind = '', digits = '', partial] =
    /^\/log\/tile\/(entries|[0-9]+)\/((?:x[0-9]{3}\/)*[0-9]{3})(?:\.p\/([0-9]+))?$/.exec(path) ?? [];
  if (kind === '') return { status: 404, body: '' };
  const n = Number(digits.replace(/[x/]/g, ''));
  const level = kind === 'entries' ? 0 : Number(kind);
  const there = Math.floor(log.entries.length / 256 ** level) - n * 256;
  const width = partial === undefined ? 256 : Number(partial);
  if (width > there) return { status: 404, body: '' };
  return { body: kind === 'entries' ? log.entryTile(n, width) : log.tile(level, n, width) };
}
