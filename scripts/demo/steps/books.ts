import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import { balanceSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import type { Stage } from '../stage.ts';
import { MILLICENTS_PER_BITCOIN, type Wallets } from '../wallets.ts';
import { readBalance } from './key.ts';

export type BooksInput = {
  agentKey: string;
  publisherKey: string;
  refundKey: string;
  chargedMcents: number;
  /** Of that, for calls of the publisher's own server. */
  chargedOwnMcents: number;
  wallets: Wallets;
  /** What the agent owned over Lightning at the start, in millisatoshis. */
  lightningBefore: bigint;
};
export type Books = Record<
  'agent' | 'publisher' | 'refund' | 'earned' | 'fees' | 'exchange' | 'received',
  bigint
>;

const MCENTS_PER_CENT = 1_000n;
const MSAT_PER_BITCOIN = 100_000_000_000n;

const checkSchema = z.looseObject({
  balanced: z.boolean(),
  accounts: z.array(z.looseObject({ name: z.string(), unit: z.string(), balance: z.string() })),
  payers: z.looseObject({ balance_mcents: z.int(), held_mcents: z.int() }),
});

/** Who has what in the end, and whether every millicent is accounted for. */
export async function checkBooks(stage: Stage, input: BooksInput): Promise<Books> {
  const { narrator } = stage;
  narrator.step('The books');
  const check = await readLedger(stage);
  const rails = await readRails(stage, input);
  const books = await readBooks(stage, input, { check, rails });
  const charged = BigInt(input.chargedMcents);
  const chargedOwn = BigInt(input.chargedOwnMcents);
  const hosted = charged - chargedOwn;
  narrator.table(
    ['', 'amount'],
    [
      ['charged for delivered calls', charged],
      ["  of the publisher's own server", chargedOwn],
      ['  earned by the publisher', books.earned],
      ['  kept by the platform', books.fees],
      ["left on the agent's key", books.agent],
      ["left on the agent's refund key", books.refund],
      ["left on the publisher's key", books.publisher],
      ['kept on top of the rate of bitcoin', books.exchange],
      ...Object.entries(rails).map(([rail, amount]): [string, bigint] => [`received on ${rail}`, amount]),
      ['received in all', books.received],
    ].map(([what, amount]) => [String(what), formatDollars(BigInt(amount ?? 0))]),
  );
  const { earned, fees, agent, refund, publisher, exchange, received } = books;
  mustEqual(earned * 20n, hosted * 16n + chargedOwn * 19n, 'Twenty times what the publisher earned');
  mustEqual(fees * 20n, hosted * 4n + chargedOwn, 'Twenty times what the platform kept');
  narrator.checked("the split is 80 to 20, and 95 to 5 for the publisher's own server, to the millicent");
  const owed = earned + fees + agent + refund + publisher + exchange;
  mustEqual(owed, received, 'What the ledger owes and earned, in all,');
  narrator.checked('what reached the four rails is what the ledger owes and earned');
  mustEqual(check.payers.held_mcents, 0, 'What is still on hold');
  narrator.checked(
    `the ledger balances: ${check.accounts.length} accounts, debits equal credits in every unit`,
  );
  return books;
}

type Check = z.infer<typeof checkSchema>;

/** What reached each rail, in millicents, read from the rail and not from the gateway. */
async function readRails({ info, chain }: Stage, { wallets, lightningBefore }: BooksInput) {
  const { lightning, tempo, card } = wallets;
  const paidMsat = lightningBefore - (await lightning.balanceMsat());
  const cents = (await card.payments()).reduce((sum, payment) => sum + payment.amount_received, 0);
  return {
    'the test chain': await chain.balanceOf(info.evm.payTo),
    Tempo: await tempo.received(),
    Lightning: (paidMsat * MILLICENTS_PER_BITCOIN) / MSAT_PER_BITCOIN,
    Stripe: BigInt(cents) * MCENTS_PER_CENT,
  };
}

async function readBooks(
  stage: Stage,
  { agentKey, publisherKey, refundKey }: BooksInput,
  { check, rails }: { check: Check; rails: Record<string, bigint> },
): Promise<Books> {
  const answer = await send(`${stage.info.url}/v1/balance`, { key: publisherKey });
  const publisher = read(answer, 200, balanceSchema);
  return {
    agent: BigInt(await readBalance(stage, agentKey)),
    publisher: BigInt(publisher.balance_mcents),
    refund: BigInt(await readBalance(stage, refundKey)),
    earned: BigInt(publisher.earned_mcents ?? 0),
    fees: sumAccounts(check.accounts, 'I.fee'),
    exchange: sumAccounts(check.accounts, 'I.fx'),
    received: Object.values(rails).reduce((sum, amount) => sum + amount, 0n),
  };
}

async function readLedger({ info }: Stage): Promise<Check> {
  const headers = { 'x-admin-key': info.adminKey };
  const check = read(await send(`${info.url}/v1/admin/ledger/check`, { headers }), 200, checkSchema);
  must(check.balanced, `the books balance: ${JSON.stringify(check.discrepancies)}`);
  return check;
}

function sumAccounts(accounts: Check['accounts'], name: string): bigint {
  return accounts
    .filter((account) => account.name === name && account.unit === 'mc')
    .reduce((sum, { balance }) => sum + BigInt(balance), 0n);
}
