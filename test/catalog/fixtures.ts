import {
  createCatalog,
  type Publication,
  type Published,
  parseSubmission,
  type Submission,
  type VersionLeaf,
} from '../../src/catalog/index.ts';
import { toUnixSeconds } from '../../src/core/clock.ts';
import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { Problem } from '../../src/core/problem.ts';
import { type Sql, type Tx, withTransaction } from '../../src/db/index.ts';
import type { ToolDefinition } from '../../src/execution/index.ts';
import { appendLeaf } from '../../src/provenance/index.ts';

type Body = Record<string, unknown>;

/** A publish JSON that is accepted as it stands. */
export function createBody(changes: Body = {}): Body {
  return {
    ...{ name: newName(), version: '1.0.0', description: 'Counts the words of a text', category: ['text'] },
    ...{ language: 'python', entrypoint: 'server.py', pricing: { model: 'per_call', amount_mcents: 250 } },
    files: { 'server.py': 'print("hello")\n' },
    ...changes,
  };
}

export function createSubmission(changes: Body = {}): Submission {
  return parse(createBody(changes));
}

/** What a gateway of production reads of a publish JSON. */
export function parse(body: unknown, upload?: ReadonlyMap<string, Buffer>): Submission {
  return parseSubmission(body, { allowsLoopback: false, processor: 'x64' }, upload);
}

/** A name nobody had, in a namespace nobody had when there is none given. */
export function newName(namespace = `n${newUuid().replaceAll('-', '')}`): string {
  return `${namespace}/t${newUuid().replaceAll('-', '')}`;
}

export function createTools(...names: string[]): ToolDefinition[] {
  return names.map((name) => ({ name, inputSchema: { type: 'object' } }));
}

export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** The refusal that `work` ends with; anything else it ends with fails the test. */
export async function refusalOf(work: () => unknown): Promise<Problem> {
  try {
    await work();
  } catch (error) {
    if (error instanceof Problem) return error;
    throw error;
  }
  throw new Error('nothing was refused');
}

/** The catalog of one gateway process, with a clock that stands until it is moved, and the real log. */
export function createMarket(sql: Sql, startsAt = new Date('2026-03-01T12:00:00.000Z')) {
  let now = startsAt;
  const clock = { now: () => now };
  const catalog = createCatalog({
    sql,
    clock,
    openLayer: (sha256) => ({ sha256, read: async () => Buffer.alloc(0) }),
  });

  async function publish(input: PublishInput): Promise<Published> {
    const { submission, publisherId, serverId } = input;
    return withTransaction(sql, async (tx) => {
      await catalog.ensurePublisher(tx, publisherId);
      const publication: Publication = {
        ...{ publisherId, submission, tools: input.tools ?? createTools('run'), publishedAt: now },
        ...{ face: { capabilities: { tools: {} }, info: {} }, rootSha256: null, layer: input.layer },
        serverId,
        appendLeaf: (leaf) => append(tx, leaf),
      };
      return serverId === undefined
        ? catalog.publishServer(tx, publication)
        : catalog.publishVersion(tx, { ...publication, serverId });
    });
  }

  function append(tx: Tx, leaf: VersionLeaf): Promise<bigint> {
    return appendLeaf(tx, {
      kind: 'publish',
      ...{ tool: leaf.name, version: leaf.version, sha256: leaf.codeSha256, manifest: leaf.manifestSha256 },
      ...{ publisher: leaf.publisherId, time: toUnixSeconds(now) },
    });
  }

  /** Lists a server by a publisher of its own. */
  async function list(changes: Body = {}, tools = createTools('run')) {
    const publisherId = newUuid();
    const submission = createSubmission(changes);
    const published = await publish({ publisherId, submission, tools });
    return { ...published, publisherId, name: submission.name };
  }

  return {
    catalog,
    publish,
    list,
    wait: (ms: number) => {
      now = new Date(now.getTime() + ms);
    },
  };
}

export type PublishInput = {
  publisherId: Uuid;
  submission: Submission;
  tools?: ToolDefinition[];
  /** The server a new version is for; none lists a new server. */
  serverId?: Uuid;
  layer?: { sha256: string; bytes: number };
};
