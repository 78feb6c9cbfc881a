import { request } from 'node:http';
import { expect } from 'vitest';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';
import { createTestDatabase, type TestDatabase } from '../harness/database.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from '../harness/gateway.ts';
import { type Answer, readBooks } from './fixtures.ts';

/** A gateway as its users meet it, on a database and a chain of its own. */
export type Surface = {
  gateway: TestGateway;
  anvil: Anvil;
  database: TestDatabase;
  /** A further gateway on the same database. */
  startAnother(options: Pick<TestGatewayOptions, 'env' | 'anvil'>): Promise<TestGateway>;
  /** Ends everything, once the books are seen to balance with nothing left on hold. */
  close(): Promise<void>;
};

export async function startSurface(env: Record<string, string> = {}): Promise<Surface> {
  const [database, anvil] = await Promise.all([
    createTestDatabase({ poolMax: 4 }),
    startAnvil({ log: silentLog }),
  ]);
  const gateway = await startTestGateway({ database, anvil, env });
  const others: TestGateway[] = [];
  return {
    gateway,
    anvil,
    database,
    async startAnother(options) {
      const other = await startTestGateway({ database, ...options });
      others.push(other);
      return other;
    },
    async close() {
      try {
        await expectBalancedBooks(gateway);
      } finally {
        for (const one of [gateway, ...others]) await one.close();
        await Promise.all([anvil.close(), database.close()]);
      }
    },
  };
}

/** `GET /v1/admin/ledger/check` finds nothing wrong, and no call holds anybody's money any more. */
export async function expectBalancedBooks(gateway: TestGateway): Promise<void> {
  const books = await readBooks(gateway);
  expect(books).toMatchObject({ ok: true, balanced: true, discrepancies: [], payers: { held_mcents: 0 } });
}

export type ProblemBody = Record<string, unknown> & { detail: string };

/**
 * The one shape of every refusal: RFC 9457, named by the request, with payment challenges on a 402 and on
 * nothing else (MONEY.md, rule 12).
 */
export async function expectProblem(response: Response, status: number, type: string): Promise<ProblemBody> {
  const text = await response.text();
  expect([response.status, text]).toEqual([status, text]);
  expect(response.headers.get('content-type')).toBe('application/problem+json');
  const body = JSON.parse(text);
  const requestId = response.headers.get('x-request-id');
  expect(body).toMatchObject({
    type: expect.stringMatching(new RegExp(`/problems/${type}$`)),
    ...{ status, ok: false, instance: `urn:request:${requestId}` },
    title: expect.stringMatching(/\S/),
    detail: expect.stringMatching(/\S/),
  });
  expect(response.headers.has('payment-required'), text).toBe(status === 402);
  expect(response.headers.get('www-authenticate')?.startsWith('Bearer ') ?? false).toBe(status === 401);
  if (status === 402) expect(response.headers.get('cache-control')).toBe('no-store');
  return body;
}

/** A refusal that says in so many words that it cost nothing. */
export async function expectFreeProblem(
  response: Response,
  status: number,
  type: string,
): Promise<ProblemBody> {
  const body = await expectProblem(response, status, type);
  expect(body).toMatchObject({ note: 'no charge applied' });
  return body;
}

/** The members that lists and publications add to other answers. */
export type Body = Answer & {
  version: string;
  log_index: number;
  publisher_id: string;
  stderr: string;
  keys: [{ id: string; scopes: string[] }];
  calls: {
    id: string;
    state: string;
    charged_mcents: number;
    receipt_id: string | null;
    created_at: string;
  }[];
  servers: { name: string; pricing: { amount_mcents: number } }[];
  next_cursor: string | undefined;
};

/** The JSON of an answer; the type says what the tests expect of it, and they check it. */
export async function readBody(response: Response): Promise<Body> {
  return (await response.json()) as Body;
}

export const bearer = (key: string) => ({ authorization: `Bearer ${key}` });

/** What a key can still spend. */
export async function balanceOf(gateway: TestGateway, key: string): Promise<number> {
  const response = await gateway.fetch('/v1/balance', { headers: bearer(key) });
  return (await readBody(response)).balance_mcents;
}

export function countByStatus(responses: readonly Response[]): Record<number, number> {
  const counts: Record<number, number> = {};
  for (const { status } of responses) counts[status] = (counts[status] ?? 0) + 1;
  return counts;
}

export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, index) => make(index));

/** A body sent in chunks, so that no header tells its length; what happens to it is the answer's status. */
export function sendChunked(
  gateway: TestGateway,
  path: string,
  input: { method: string; headers: Record<string, string>; bytes: number },
): Promise<{ status: number | undefined; body: Record<string, unknown> }> {
  return new Promise((resolve, reject) => {
    const { method, headers } = input;
    const sent = request(gateway.url + path, {
      method,
      headers: { ...headers, 'transfer-encoding': 'chunked' },
    });
    let isAnswered = false;
    sent.on('response', (answer) => {
      isAnswered = true;
      const pieces: Buffer[] = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('error', reject);
      answer.on('end', () => {
        sent.destroy();
        resolve({ status: answer.statusCode, body: JSON.parse(Buffer.concat(pieces).toString()) });
      });
    });
    // A server that answered need not read the rest: writing on may fail then, and only then.
    sent.on('error', (cause) => {
      if (!isAnswered) reject(cause);
    });
    const chunk = Buffer.alloc(16 * 1024, ' ');
    let left = input.bytes;
    const write = () => {
      while (left > 0 && !sent.destroyed) {
        const piece = chunk.subarray(0, Math.min(left, chunk.length));
        left -= piece.length;
        if (!sent.write(piece)) {
          sent.once('drain', write);
          return;
        }
      }
      if (!sent.destroyed) sent.end();
    };
    write();
  });
}
