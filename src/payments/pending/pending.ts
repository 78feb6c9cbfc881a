import { deriveKey } from '../../core/bytes.ts';
import { addMs } from '../../core/clock.ts';
import { type Uuid, uuidFrom } from '../../core/ids.ts';
import { seal, unseal } from '../../core/seal.ts';
import type { Sql } from '../../db/index.ts';
import { deletePending, findPending, insertPending } from './store.ts';

/**
 * Requests that wait for a payment which comes by itself: a held Lightning payment releases its preimage only
 * after the call, so the call cannot wait for the request to be sent again. Sealed, bounded, short-lived.
 */
export type Pending = {
  /** False when the request is too large to be kept. */
  store(input: { quoteHash: Buffer; body: string; expiresAt: Date }): Promise<boolean>;
  load(quoteHash: Buffer): Promise<string | undefined>;
  prune(): Promise<number>;
};

/** MONEY.md, rule 11. */
export const PENDING_BYTES_MAX = 64 * 1024;
const CONTEXT = 'pending';
/** A payment may be on its way when its invoice expires. */
const GRACE_MS = 10 * 60 * 1000;
const PRUNE_ROWS_MAX = 5_000;

/** The first secret seals, every one opens. */
export function createPending(deps: { sql: Sql; secrets: readonly Buffer[] }): Pending {
  const keys = deps.secrets.map((secret) => deriveKey(secret, CONTEXT));
  const [sealingKey] = keys;
  if (!sealingKey) throw new RangeError('pending requests need a secret');
  return {
    async store({ quoteHash, body, expiresAt }) {
      if (Buffer.byteLength(body) > PENDING_BYTES_MAX) return false;
      const id = idOf(quoteHash);
      const sealed = seal(sealingKey, body, `${CONTEXT}:${id}`);
      await insertPending(deps.sql, { id, sealed, expiresAt: addMs(expiresAt, GRACE_MS) });
      return true;
    },
    async load(quoteHash) {
      const id = idOf(quoteHash);
      const sealed = await findPending(deps.sql, id);
      return sealed && unseal(keys, sealed, `${CONTEXT}:${id}`)?.toString('utf8');
    },
    prune: () => deletePending(deps.sql, PRUNE_ROWS_MAX),
  };
}

function idOf(quoteHash: Buffer): Uuid {
  return uuidFrom('pending', quoteHash.toString('hex'));
}
