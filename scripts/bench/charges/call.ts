import { randomBytes } from 'node:crypto';
import { newUuid, type Uuid } from '../../../src/core/ids.ts';
import { millicents } from '../../../src/core/money.ts';
import { feeOf, type HoldRequest } from '../../../src/ledger/index.ts';
import type { ReceiptDraft } from '../../../src/provenance/index.ts';
import type { Payer } from './accounts.ts';

/** What is called, and who earns by it. */
export type Tool = { toolId: Uuid; versionId: Uuid; payeeId: Uuid };

const PRICE = millicents(100);
const HASH = randomBytes(32);

/** One delivered call of a hosted tool, ready to be charged: a share for the publisher and a fee for us. */
export function newCall(
  tool: Tool,
  payer: Payer,
  label: string,
): { request: HoldRequest; receipt: ReceiptDraft } {
  const id = newUuid();
  const { payeeId, toolId, versionId } = tool;
  return {
    request: {
      ...{ id, ...payer, payeeId, subject: versionId, label },
      ...{ amount: PRICE, fee: feeOf(PRICE, 'hosted', id), lifetimeMs: 60_000 },
    },
    receipt: {
      ...{
        toolId,
        versionId,
        toolName: 'bench',
        payer: `payer:${payer.accountId}`,
        rail: 'key',
        paymentRef: id,
      },
      ...{ requestHash: HASH, responseHash: HASH },
    },
  };
}
