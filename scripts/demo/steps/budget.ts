import { formatDollars } from '../../../src/core/money.ts';
import {
  createPayingFetch,
  evmPayer,
  lightningPayer,
  type PayingFetch,
  type Spending,
  SpendingLimitError,
  tempoPayer,
} from '../../../src/sdk/client/index.ts';
import type { Calls } from '../calls.ts';
import type { Account } from '../chain.ts';
import { callAnswerSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { type Call, type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';
import { MILLICENTS_PER_BITCOIN, type Wallets } from '../wallets.ts';

/** In millicents: half a cent a call, a cent an hour, five cents in all. */
const LIMITS = { perCall: 500n, perHour: 1_000n, total: 5_000n };
const TOKEN_DECIMALS = 6;

export type BudgetInput = {
  agent: Account;
  wallets: Wallets;
  calls: Calls /** Beyond what one call may cost. */;
  report: Call;
};

/** The project's own client: any configured rail, once for one logical call, and never beyond its limits. */
export async function spendWithinBudget(stage: Stage, input: BudgetInput): Promise<Delivered[]> {
  const { narrator } = stage;
  const { calls, report } = input;
  narrator.step('An agent with a budget: $0.005 a call, $0.01 an hour, whatever the rail');
  const client = createAgent(stage, input);
  const phrases = calls.findKeyPhrases();
  const first = await pay(stage, client, phrases, 'phrases');
  const second = await pay(stage, client, calls.compareLicences(), 'licences');
  const again = await pay(stage, client, phrases, 'phrases');
  const receipt = first.answer.receipt_id;
  must(receipt, 'a paid call has a receipt');
  mustEqual(again.answer.receipt_id, receipt, 'The receipt of the same call again');
  const spending = client.spending();
  showSpending(stage, spending);
  mustEqual(spending.calls.length, 2, 'The number of payments');
  narrator.checked(
    'the same call under the same name sent the same payment: the same receipt, and nothing spent',
  );

  const before = await readPurses(stage, input);
  await mustRefuse(stage, client, { call: report, limit: 'per-call' });
  await mustRefuse(stage, client, { call: calls.compareLicences(), limit: 'per-hour' });
  mustEqual(client.spending().calls.length, 2, 'The number of payments after the refusals');
  mustEqual(await readPurses(stage, input), before, 'What the wallets hold');
  narrator.checked('both were refused before anything was signed; no wallet was touched');
  return [first, second];
}

function createAgent({ info }: Stage, { agent, wallets }: BudgetInput): PayingFetch {
  const { tempo, lightning } = wallets;
  return createPayingFetch({
    payers: [
      tempoPayer({
        ...{ account: tempo.account, getClient: tempo.getClient },
        tokens: [tokenOf(info.tempo.chainId, info.tempo.currency)],
      }),
      lightningPayer({
        payInvoice: lightning.payInvoice,
        millicentsPerBitcoin: () => MILLICENTS_PER_BITCOIN,
      }),
      evmPayer({ account: agent, tokens: [tokenOf(info.evm.chainId, info.evm.token)] }),
    ],
    prefer: ['tempo', 'lightning', 'evm'],
    limits: LIMITS,
    allowedHosts: [new URL(info.url).host],
  });
}

function tokenOf(chainId: number, address: `0x${string}`) {
  return { network: `eip155:${chainId}`, address, decimals: TOKEN_DECIMALS } as const;
}

async function pay(stage: Stage, client: PayingFetch, call: Call, name: string): Promise<Delivered> {
  const sent = await send(invokeUrl(stage, call.server), {
    fetch: client.fetch,
    headers: { 'idempotency-key': name },
    body: toBody(call),
  });
  const answer = read(sent, 200, callAnswerSchema);
  mustEqual(answer.charged_mcents, call.priceMcents, `The charge for ${call.tool}`);
  return { call, answer };
}

function showSpending({ narrator }: Stage, spending: Spending): void {
  narrator.table(
    ['spent', 'on', 'by', 'state'],
    spending.calls.map(({ mcents = 0n, url, rail, state }) => [
      formatDollars(mcents),
      decodeURIComponent(new URL(url).pathname.slice('/invoke/'.length)),
      rail,
      state,
    ]),
  );
  narrator.fact('in all', `${formatDollars(spending.mcents)} of ${formatDollars(LIMITS.perHour)} an hour`);
}

async function mustRefuse(
  stage: Stage,
  client: PayingFetch,
  { call, limit }: { call: Call; limit: SpendingLimitError['limit'] },
): Promise<void> {
  const init = {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(toBody(call)),
  };
  const refusal = await client.fetch(invokeUrl(stage, call.server), init).catch((cause: unknown) => cause);
  must(
    refusal instanceof SpendingLimitError,
    `${call.server} for ${call.priceMcents} mcents is beyond a limit`,
  );
  mustEqual(refusal.limit, limit, 'The limit');
  stage.narrator.fact(limit, `refused: ${refusal.message}`);
}

/** What the three wallets hold, as one text. */
async function readPurses({ chain }: Stage, { agent, wallets }: BudgetInput): Promise<string> {
  const { lightning, tempo } = wallets;
  const purses = [chain.balanceOf(agent.address), lightning.balanceMsat(), tempo.balance()];
  return (await Promise.all(purses)).join(' ');
}
