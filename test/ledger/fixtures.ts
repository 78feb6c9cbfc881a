import { newUuid, type Uuid } from '../../src/core/ids.ts';
import { type Millicents, millicents } from '../../src/core/money.ts';
import { type Sql, withTransaction } from '../../src/db/index.ts';
import { keyGuard } from '../../src/keys/index.ts';
import {
  type Charger,
  createCharger,
  createLedger,
  feeOf,
  type HoldRequest,
} from '../../src/ledger/index.ts';
import { createReceiptRider, newLane, type ReceiptDraft } from '../../src/provenance/index.ts';

export const PAYEE: Uuid = newUuid();
export const TOOL: Uuid = newUuid();

export type TestCharger = Charger<ReceiptDraft | null>;

/** A charger as the gateway wires it: with the guard of the keys and the rider of the receipts. */
export function newCharger(sql: Sql): TestCharger {
  return createCharger({ sql, parts: { guard: keyGuard, rider: createReceiptRider({ lane: newLane() }) } });
}

/** An open payer account with this balance. */
export async function openFunded(sql: Sql, amount: number): Promise<Uuid> {
  const ledger = createLedger({ sql });
  const accountId = newUuid();
  await withTransaction(sql, async (tx) => {
    await ledger.openPlatform(tx);
    await ledger.openPayer(tx, accountId);
    await ledger.openPublisher(tx, PAYEE);
    await ledger.fund(tx, {
      ...{ rail: 'evm', reference: newUuid(), unit: 'eip155:1/erc20:0x0', units: BigInt(amount) * 10n },
      ...{ amount: millicents(amount), accountId, costs: [] },
    });
  });
  return accountId;
}

export function holdRequest(accountId: Uuid, amount: number, id: Uuid = newUuid()): HoldRequest {
  const price: Millicents = millicents(amount);
  return {
    ...{ id, accountId, keyId: undefined, payeeId: PAYEE, subject: TOOL, label: 'test' },
    ...{ amount: price, fee: feeOf(price, 'hosted', id), lifetimeMs: 60_000 },
  };
}

export function receiptDraft(callId: Uuid): ReceiptDraft {
  return {
    ...{
      toolId: TOOL,
      versionId: TOOL,
      toolName: 'test',
      payer: 'payer:test',
      rail: 'key',
      paymentRef: callId,
    },
    ...{ requestHash: Buffer.alloc(32, 1), responseHash: Buffer.alloc(32, 2) },
  };
}
