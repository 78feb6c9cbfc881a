import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { confirmSettlements } from '../../../src/gateway/index.ts';
import type { TestGateway } from '../../harness/gateway.ts';
import { type RailLab, startRailLab } from '../../harness/rail-lab.ts';
import { hookRuns, type RunHooks } from '../fault-lab.ts';
import { type Agent, createAgent, drain, readBooks } from '../fixtures.ts';
import { expectAnswer, expectReconciled, newCall, openShop, payFor, readRailClaims } from './kit.ts';

const PRICE_UNITS = 2_500n;
const OWNED_UNITS = 10_000_000n;

let lab: RailLab;
let gateway: TestGateway;
let path: string;
const hooks: RunHooks = { runs: [] };

beforeAll(async () => {
  lab = await startRailLab(['evm']);
  gateway = await lab.start({ change: ({ http }) => hookRuns(http, hooks) });
  path = (await openShop(gateway)).cheap;
});
afterEach(() => expectReconciled(lab, gateway));
afterAll(() => lab?.close());

const bound = () => AbortSignal.timeout(20_000);
const lastClaim = async () => (await readRailClaims(lab, 'evm')).at(-1);
const readFinal = async (id: string | undefined) => {
  const rows = await lab.database.sql<{ finalAt: Date | null }[]>`
    SELECT final_at FROM payment_claim WHERE id = ${id ?? ''}`;
  return rows[0]?.finalAt ?? null;
};
const mine = (blocks: number) => lab.anvil.rpc('anvil_mine', [`0x${blocks.toString(16)}`]);
const reorg = (depth: number) => lab.anvil.rpc('anvil_reorg', [depth, []]);

/** A delivered call, and the wallet that paid it; what comes before is final. */
async function deliver(): Promise<{ agent: Agent; paid: RequestInit; label: string }> {
  const agent = await createAgent(lab.anvil);
  await mine(5);
  const { label, request } = newCall();
  const paid = await payFor(gateway, { pay: agent.sign }, path, request);
  await expectAnswer(await gateway.fetch(path, paid));
  expect(OWNED_UNITS - (await agent.owns())).toBe(PRICE_UNITS);
  return { agent, paid, label };
}

/** The job goes by the database's clock; nothing but this row says when its next look is. */
async function confirmNow(id: string | undefined): Promise<void> {
  await lab.database.sql`UPDATE payment_claim SET next_attempt_at = now() WHERE id = ${id ?? ''}`;
  await confirmSettlements(gateway.deps.http, bound());
}

describe('a settlement whose block is taken back', () => {
  test('is sent once more, and its payer has paid once', async () => {
    const { agent, paid, label } = await deliver();
    const claim = await lastClaim();
    await reorg(1);
    expect(await agent.owns()).toBe(OWNED_UNITS);
    await confirmNow(claim?.id);
    expect(OWNED_UNITS - (await agent.owns())).toBe(PRICE_UNITS);
    expect(await readFinal(claim?.id)).toBeNull();
    await mine(5);
    await confirmNow(claim?.id);
    expect(await readFinal(claim?.id)).not.toBeNull();
    expect(OWNED_UNITS - (await agent.owns())).toBe(PRICE_UNITS);
    // The answer stands, and nobody is asked again.
    expect(await expectAnswer(await gateway.fetch(path, paid))).toMatchObject({ receipt_id: claim?.id });
    expect(hooks.runs.filter((run) => run === label)).toHaveLength(1);
    expect(await readRailClaims(lab, 'evm')).toHaveLength(1);
  });

  test('is a loss when its payer has spent the money elsewhere, once, and the books agree with the chain', async () => {
    const { agent } = await deliver();
    const claim = await lastClaim();
    await reorg(1);
    await drain(lab.anvil, agent);
    await confirmNow(claim?.id);
    // While the authorisation is valid somebody may fill the purse again.
    expect(await readFinal(claim?.id)).toBeNull();
    const snapshot = await lab.anvil.rpc('evm_snapshot');
    await lab.anvil.rpc('evm_increaseTime', [3_600]);
    await mine(5);
    await confirmNow(claim?.id);
    await confirmNow(claim?.id);
    expect(await readFinal(claim?.id)).not.toBeNull();
    const loss = (await readBooks(gateway)).accounts.find(({ name }) => name === 'E.loss');
    expect(loss?.balance).toBe('-250');
    const memo = await lab.database
      .sql`SELECT state, is_loss FROM ledger_exposure WHERE id = ${claim?.id ?? ''}`;
    expect([...memo]).toEqual([{ state: 'void', isLoss: 1 }]);
    await lab.anvil.rpc('evm_revert', [snapshot]);
  });
});
