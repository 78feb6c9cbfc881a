import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { replacePiece } from './gateway/replace-piece.mjs';
import type { Mutant } from './mutant.ts';
import { RAIL_MUTANTS } from './rail-mutants.ts';

const CHARGE = 'src/ledger/charge/store.ts';
const WHOLE = 'src/ledger/charge/whole/store.ts';
const KEY_CALL = 'src/gateway/call-with-key.ts';
const UNTRUE_RECEIPT = 'toReceipt(deps, sale, principal, { id, responseHash: hashResult(null) })';

export const MUTANTS = {
  'row-lock': {
    what: 'charges read balances without locking their rows',
    pieces: [
      {
        file: CHARGE,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        find: 'ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id FOR UPDATE',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        replace: 'ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id',
      },
      {
        file: WHOLE,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        find: 'ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id FOR UPDATE',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        replace: 'ANY($${ACCOUNT}::uuid[])${shard} ORDER BY id',
      },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
      { file: CHARGE, find: '::uuid[])[1]${shard} FOR UPDATE', replace: '::uuid[])[1]${shard}' },
    ],
    caughtBy: ['payer-balance', 'payer-held', 'sum-of-payers', 'model-balance'],
  },
  claim: {
    what: 'a claim that is there already counts as won',
    pieces: [{ file: 'src/payments/store.ts', find: 'return rows.length === 1;', replace: 'return true;' }],
    caughtBy: ['charged-twice', 'answered-500', 'answered-differently'],
  },
  'claim-key': {
    what: 'each request under one Idempotency-Key makes a claim of its own',
    pieces: [
      {
        file: KEY_CALL,
        find: 'const claimKey = keyClaimKeyOf(principal, idempotencyKey);',
        replace: 'const claimKey = keyClaimKeyOf(principal, idempotencyKey + newUuid());',
      },
    ],
    caughtBy: ['charged-twice'],
  },
  'claim-owner': {
    what: 'an Idempotency-Key names one call of everybody, and not one of each caller',
    pieces: [
      {
        file: KEY_CALL,
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        find: 'return `key:${askerOf(principal)}:',
        replace: 'return `key:',
      },
    ],
    caughtBy: ['refused-without-reason'],
  },
  expiry: {
    what: 'holds never expire',
    pieces: [
      {
        file: 'src/ledger/ledger.ts',
        find: 'const due = await listDueHolds(sql, DUE_ROWS_MAX);',
        replace: 'const due = (await listDueHolds(sql, DUE_ROWS_MAX)).slice(0, 0);',
      },
    ],
    caughtBy: ['hold-left'],
  },
  'settle-before-run': {
    what: 'the money of a call is taken before it runs',
    pieces: [
      {
        file: KEY_CALL,
        find: 'await deps.charger.hold(request)',
        replace: `await deps.charger.charge(request, ${UNTRUE_RECEIPT})`,
      },
    ],
    caughtBy: ['charged-for-nothing'],
  },
  'settle-failed': {
    what: 'the money of a call that failed is taken',
    pieces: [
      {
        file: KEY_CALL,
        find: 'await deps.charger.release(request)',
        replace: `await deps.charger.capture(request, ${UNTRUE_RECEIPT})`,
      },
    ],
    caughtBy: ['charged-for-nothing'],
  },
  undelivered: {
    what: 'a tool that reports an error counts as delivered',
    pieces: [
      {
        file: 'src/execution/call-tool.ts',
        find: 'if (result.isError === true) return',
        replace: 'if (false) return',
      },
    ],
    caughtBy: ['delivered-although-failed'],
  },
  'answer-early': {
    what: 'a call is answered before it is charged',
    pieces: [
      {
        file: KEY_CALL,
        find: 'charge = await deps.charger.charge(request, receipt);',
        replace:
          "deps.charger.charge(request, receipt).catch(() => {}); charge = { kind: 'held', rest: 0n };",
      },
    ],
    caughtBy: ['charge-lost'],
  },
  release: {
    what: 'what is released is not given back',
    pieces: [
      {
        file: CHARGE,
        find: 'SELECT a.id, a.held - sum(i.amount) AS held, a.balance - sum',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        replace: "SELECT a.id, a.held - ${isCapture ? 'sum(i.amount)' : '0'} AS held, a.balance - sum",
      },
    ],
    caughtBy: ['payer-held', 'sum-of-payers'],
  },
  'receipt-number': {
    what: 'a batch of receipts takes one number too many',
    pieces: [
      {
        file: 'src/provenance/receipts/store.ts',
        find: 'DO UPDATE SET last_seq = l.last_seq + excluded.last_seq',
        replace: 'DO UPDATE SET last_seq = l.last_seq + excluded.last_seq + 1',
      },
    ],
    caughtBy: ['receipt-gap'],
  },
  'hour-cap': {
    what: 'what was spent within the hour counts in no cap',
    pieces: [
      {
        file: 'src/ledger/charge/capped/store.ts',
        find: 'per_hour - CASE WHEN hour_start = (SELECT hour FROM h) THEN hour_spent ELSE 0 END AS hour_left',
        replace: 'per_hour AS hour_left',
      },
      // Calls under an `Idempotency-Key` go by the other way.
      {
        file: 'src/ledger/cap/cap.ts',
        find: '(cap.perHour ?? 0n) - spentInHour(cap, hour)',
        replace: '(cap.perHour ?? 0n)',
      },
    ],
    // The database does not let the counter pass its cap, so what the gateway takes for granted is a 500.
    caughtBy: ['cap-exceeded', 'answered-500'],
  },
  revocation: {
    what: 'a key that a gateway remembers spends on after its end',
    pieces: [
      {
        file: 'src/keys/store.ts',
        find: 'WHERE k.id = ANY($${parameter}::uuid[]) AND k.revoked_at IS NULL AND',
        replace: 'WHERE k.id = ANY($${parameter}::uuid[]) AND',
      },
    ],
    caughtBy: ['revoked-key-charged'],
  },
  'revoked-in-whole': {
    what: 'a batch that is charged as a whole asks about no key',
    pieces: [{ file: WHOLE, find: 'asked.id NOT IN (SELECT id FROM k)', replace: 'false' }],
    caughtBy: ['revoked-key-charged'],
  },
  'revoked-alone': {
    what: 'a key that ends leaves those below it as they are',
    pieces: [
      {
        file: 'src/keys/store.ts',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        find: '(id = ${keyId} OR ${keyId} = ANY(ancestor_ids))',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        replace: 'id = ${keyId}',
      },
    ],
    caughtBy: ['revoked-key-charged'],
  },
  'rest-in-whole': {
    what: 'a batch that is charged as a whole tells what is set aside as left to spend',
    pieces: [
      {
        file: WHOLE,
        find: "'=' || string_agg((balance - held)::text",
        replace: "'=' || string_agg(balance::text",
      },
    ],
    caughtBy: ['balance-told-wrong'],
  },
  'fee-share': {
    what: 'publishers of hosted tools get what is ours, and we get theirs',
    pieces: [{ file: 'src/ledger/split.ts', find: 'hosted: 2_000', replace: 'hosted: 8_000' }],
    caughtBy: ['shared-wrongly'],
  },
  'promo-earned': {
    what: 'what promotion paid may be withdrawn',
    pieces: [{ file: CHARGE, find: '- i.amount < a.promo AS is_promo', replace: '< 0 AS is_promo' }],
    caughtBy: ['promo-wrong'],
  },
  'receipt-payer': {
    what: 'receipts name the key that paid, and not whose it is',
    pieces: [
      {
        file: KEY_CALL,
        find: 'opaquePayer(deps.payerSalt, principal.accountId)',
        replace: 'opaquePayer(deps.payerSalt, principal.keyId)',
      },
    ],
    caughtBy: ['payer-misnamed'],
  },
  'capture-lost': {
    what: 'a call whose capture was answered to nobody is told that it was not charged',
    pieces: [
      {
        file: 'src/ledger/charge/charger.ts',
        find: 'answer.isClosed || answer.previous === state ?',
        replace: 'answer.isClosed ?',
      },
    ],
    caughtBy: ['charged-for-nothing'],
  },
  'text-alone': {
    what: 'an answer in words alone keeps a contract that promises structure',
    pieces: [
      {
        file: 'src/execution/call-tool.ts',
        find: "return 'The tool declares an outputSchema but sent no structuredContent.';",
        replace: 'return undefined;',
      },
    ],
    caughtBy: ['delivered-although-failed'],
  },
  'secret-outlives': {
    what: 'a secret that works beside the next one works beside the one after that',
    pieces: [
      {
        file: 'src/keys/store.ts',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        find: 'SET valid_until = ${until} WHERE key_id',
        // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
        replace: 'SET valid_until = valid_until + 0 * (${until} - now()) WHERE key_id',
      },
    ],
    caughtBy: ['former-secret-charged'],
  },
  'paused-hides': {
    what: 'what was bought of a tool is not told any more once it is paused',
    pieces: [
      {
        file: 'src/gateway/earlier-call.ts',
        find: 'if (!(cause instanceof Problem)) throw cause;',
        replace: "if (!(cause instanceof Problem) || cause.type === 'unavailable') throw cause;",
      },
    ],
    caughtBy: ['paid-and-hidden'],
  },
  conflict: {
    what: 'a charge that is sent twice moves the balance twice, although its hold is there already',
    pieces: [
      {
        file: 'src/ledger/charge/charger.ts',
        find: 'charge: (request, receipt) => laneOf(request).charges.push({ request, receipt }),',
        replace: `charge: async (request, receipt) => {
          const send = () => laneOf(request).charges.push({ request, receipt });
          const first = await send();
          await send();
          return first;
        },`,
      },
      { file: CHARGE, find: 'WHERE NOT EXISTS (SELECT FROM e) AND (', replace: 'WHERE (' },
      { file: CHARGE, find: "'taken.ord IS NOT NULL'", replace: "'rest >= 0'" },
      {
        file: CHARGE,
        find: 'NOT EXISTS (SELECT FROM e WHERE e.id = r.id) AND (',
        replace: '(',
      },
      {
        file: CHARGE,
        find: 'FROM (SELECT account_id, sum(amount) AS amount FROM taken GROUP BY account_id) t',
        replace:
          'FROM (SELECT account_id, sum(amount) AS amount FROM p WHERE rest >= 0 GROUP BY account_id) t',
      },
    ],
    caughtBy: ['payer-balance', 'sum-of-payers', 'model-balance'],
  },
  ...RAIL_MUTANTS,
} as const satisfies Record<string, Mutant>;

export type MutantName = keyof typeof MUTANTS;

const ROOT = join(import.meta.dirname, '../..');

/** The mutant of this name; throws where its pieces are not in the source as it says. */
export function findMutant(name: MutantName): Mutant {
  const mutant: Mutant = MUTANTS[name];
  const texts = new Map<string, string>();
  for (const piece of mutant.pieces) {
    const text = texts.get(piece.file) ?? readFileSync(join(ROOT, piece.file), 'utf8');
    texts.set(piece.file, replacePiece(text, piece));
  }
  return mutant;
}
