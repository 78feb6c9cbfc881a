import { deriveKey } from '../../core/bytes.ts';
import type { Uuid } from '../../core/ids.ts';
import { seal, unseal } from '../../core/seal.ts';
import type { Sql, Tx } from '../../db/index.ts';
import {
  deleteAnswer,
  deleteExpiredAnswers,
  findAnswer,
  insertAnswer,
  startAnswerClock,
  sumAnswerBytes,
} from './store.ts';

/** MONEY.md, rule 8. */
const ANSWER_LIFETIME_MS = 24 * 60 * 60 * 1000;
const ANSWER_BYTES_MAX = 1024 * 1024;
const PAYER_BYTES_MAX = 64n * 1024n * 1024n;
const PRUNE_ROWS_MAX = 1_000;

/** The stored answers of delivered claims, encrypted at rest, a day long. */
export type Answers = {
  /** Stores an answer in the transaction that decides it; one too large is left out, and answers false. */
  store(tx: Tx, answer: { id: Uuid; payer: string; body: string; isPaid: boolean }): Promise<boolean>;
  /** The money is in: the answer stays readable for a day from now. */
  startClock(tx: Tx, id: Uuid): Promise<void>;
  /** The stored body; undefined when it is gone. */
  load(id: Uuid): Promise<string | undefined>;
  destroy(tx: Tx, id: Uuid): Promise<void>;
  prune(): Promise<number>;
};

export function createAnswers(deps: { sql: Sql; secrets: readonly Buffer[] }): Answers {
  const { sql } = deps;
  const keys = deps.secrets.map((secret) => deriveKey(secret, 'answer'));
  const [sealingKey] = keys;
  if (!sealingKey) throw new RangeError('answers need a secret');
  return {
    async store(tx, { id, payer, body, isPaid }) {
      if (Buffer.byteLength(body) > ANSWER_BYTES_MAX) return false;
      if ((await sumAnswerBytes(tx, payer)) > PAYER_BYTES_MAX) return false;
      await insertAnswer(tx, {
        id,
        payer,
        sealed: seal(sealingKey, body, id),
        lifetimeMs: isPaid ? ANSWER_LIFETIME_MS : null,
      });
      return true;
    },
    startClock: (tx, id) => startAnswerClock(tx, id, ANSWER_LIFETIME_MS),
    async load(id) {
      const sealed = await findAnswer(sql, id);
      return sealed && unseal(keys, sealed, id)?.toString('utf8');
    },
    destroy: (tx, id) => deleteAnswer(tx, id),
    prune: () => deleteExpiredAnswers(sql, PRUNE_ROWS_MAX),
  };
}
