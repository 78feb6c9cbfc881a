import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import { balanceSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import type { Stage } from '../stage.ts';
import { readBalance } from './key.ts';

export type BooksInput = { agentKey: string; publisherKey: string; chargedMcents: number };
export type Books = { agent: bigint; publisher: bigint; earned: bigint; fees: bigint; received: bigint };

const checkSchema = z.looseObject({
  balanced: z.boolean(),
  accounts: z.array(z.looseObject({ name: z.string(), unit: z.string(), balance: z.string() })),
  payers: z.looseObject({ balance_mcents: z.int(), held_mcents: z.int() }),
});

/** Who has what in the end, and whether every millicent is accounted for. */
export async function checkBooks(stage: Stage, input: BooksInput): Promise<Books> {
  const { narrator, info, chain } = stage;
  narrator.step('The books');
  const check = await readLedger(stage);
  const publisherAnswer = await send(`${info.url}/v1/balance`, { key: input.publisherKey });
  const publisher = read(publisherAnswer, 200, balanceSchema);
  const books: Books = {
    agent: BigInt(await readBalance(stage, input.agentKey)),
    publisher: BigInt(publisher.balance_mcents),
    earned: BigInt(publisher.earned_mcents ?? 0),
    fees: sumAccounts(check.accounts, 'I.fee'),
    received: await chain.balanceOf(info.evm.payTo),
  };
  const charged = BigInt(input.chargedMcents);
  narrator.table(
    ['', 'amount'],
    [
      ['charged for delivered calls', formatDollars(charged)],
      ['  earned by the publisher, 80 %', formatDollars(books.earned)],
      ['  kept by the platform, 20 %', formatDollars(books.fees)],
      ["left on the agent's key", formatDollars(books.agent)],
      ["left on the publisher's key", formatDollars(books.publisher)],
      ['received on chain, in all', formatDollars(books.received)],
    ],
  );
  mustEqual(books.earned * 5n, charged * 4n, 'Five times what the publisher earned');
  mustEqual(books.fees * 5n, charged, 'Five times what the platform kept');
  narrator.checked('the split is 80 to 20, to the millicent');
  const { earned, fees, agent, publisher: ownBalance, received } = books;
  mustEqual(earned + fees + agent + ownBalance, received, 'What the ledger owes and earned, in all,');
  narrator.checked('what reached the chain is what the ledger owes and earned');
  mustEqual(check.payers.held_mcents, 0, 'What is still on hold');
  narrator.checked(
    `the ledger balances: ${check.accounts.length} accounts, debits equal credits in every unit`,
  );
  return books;
}

async function readLedger({ info }: Stage): Promise<z.infer<typeof checkSchema>> {
  const headers = { 'x-admin-key': info.adminKey };
  const check = read(await send(`${info.url}/v1/admin/ledger/check`, { headers }), 200, checkSchema);
  must(check.balanced, `the books balance: ${JSON.stringify(check.discrepancies)}`);
  return check;
}

function sumAccounts(accounts: z.infer<typeof checkSchema>['accounts'], name: string): bigint {
  return accounts
    .filter((account) => account.name === name && account.unit === 'mc')
    .reduce((sum, { balance }) => sum + BigInt(balance), 0n);
}
