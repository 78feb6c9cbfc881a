import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import { callAnswerSchema, type Fetch, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { type Call, type Delivered, invokeUrl, type Listed, type Stage, toBody } from '../stage.ts';
import { MILLICENTS_PER_BITCOIN, SPREAD_PERCENT, type Wallets } from '../wallets.ts';
import { listChallenges } from './challenges.ts';
import { publishServer } from './publish.ts';

const MCENTS_PER_CENT = 1_000;
const MSAT_PER_SAT = 1_000n;
const SATS_PER_BITCOIN = 100_000_000n;

const tableSchema = z.object({ rows: z.int(), columns: z.array(z.unknown()), duplicate_rows: z.int() });

/** The CSV profiler again under another name, at the least that a card is charged, so that every rail can pay. */
export async function listForCards(stage: Stage, publisherKey: string, listed: Listed[]): Promise<Listed> {
  const profiler = listed.find(({ folder }) => folder === 'csv-profile');
  must(profiler, 'csv-profile is listed');
  const pricing = { model: 'per_call', amount_mcents: 50_000 } as const;
  const manifest = { ...profiler.manifest, name: 'inkwell/table-report', pricing };
  return publishServer(stage, publisherKey, { ...profiler, manifest });
}

/** Every way there is to pay one unpaid call, as its 402 spells them. */
export async function showEveryChallenge(stage: Stage, call: Call): Promise<void> {
  const { narrator } = stage;
  narrator.step('One 402, payable by everybody');
  narrator.say(
    `${call.server} costs ${formatDollars(BigInt(call.priceMcents))}, the least a card is charged.`,
  );
  const unpaid = await send(invokeUrl(stage, call.server), { body: toBody(call) });
  read(unpaid, 402, problemSchema);
  const challenges = listChallenges(unpaid);
  narrator.table(
    ['where', 'wire', 'rail', 'asks for'],
    challenges.map(({ where, wire, rail, asks }) => [where, wire, rail, asks]),
  );
  const ways = challenges.map(({ wire, rail }) => `${wire} ${rail}`);
  for (const way of WAYS) must(ways.includes(way), `the 402 offers ${way}`);
  mustEqual(ways.length, WAYS.length, 'The number of ways to pay');
  for (const { mcents, wire, rail } of challenges) {
    if (mcents !== undefined) mustEqual(mcents, call.priceMcents, `The price by ${wire} on ${rail}`);
  }
  const invoices = challenges.flatMap(({ invoice }) => invoice ?? []);
  mustEqual(new Set(invoices).size, 1, 'The number of Lightning invoices');
  narrator.checked(`${ways.length} ways to pay, all of one price; MPP and L402 share one Lightning invoice`);
}

const WAYS = [
  ...['x402 v2 evm', 'x402 v1 evm', 'MPP evm', 'MPP tempo', 'MPP stripe', 'MPP lightning', 'L402 lightning'],
];

/** The same call three times, each paid from another wallet by the client of its own field. */
export async function payByEveryRail(stage: Stage, wallets: Wallets, call: Call): Promise<Delivered[]> {
  return [
    await payByLightning(stage, wallets, call),
    await payByTempo(stage, wallets, call),
    await payByCard(stage, wallets, call),
  ];
}

async function payByLightning(stage: Stage, { lightning }: Wallets, call: Call): Promise<Delivered> {
  const { narrator } = stage;
  narrator.step('Paid over Lightning, with the unmodified @getalby/lightning-tools');
  narrator.say(
    'The invoice is paid first. The node holds the money, the tool runs, and only then it is taken.',
  );
  const before = await lightning.balanceMsat();
  const delivered = await makeCall(stage, call, lightning.fetch);
  const paid = before - (await lightning.balanceMsat());
  narrator.fact('agent paid', `${paid / MSAT_PER_SAT} sat; the rate is $100,000, and 1 % on top`);
  mustEqual(paid, toMsat(call.priceMcents), 'What left the agent, in millisatoshis');
  narrator.checked('the agent paid the invoice and no more: between its node and ours there is no fee');
  return delivered;
}

async function payByTempo(stage: Stage, { tempo }: Wallets, call: Call): Promise<Delivered> {
  const { narrator } = stage;
  narrator.step('Paid on Tempo, with the unmodified mppx');
  const [before, receivedBefore] = [await tempo.balance(), await tempo.received()];
  const delivered = await makeCall(stage, call, tempo.fetchBy('pull'));
  const received = (await tempo.received()) - receivedBefore;
  narrator.fact(
    'agent on Tempo',
    `${formatDollars(before)} -> ${formatDollars(await tempo.balance())}, its fee included`,
  );
  mustEqual(received, BigInt(call.priceMcents), 'What reached the gateway on Tempo');
  narrator.checked('the gateway received the price, to the last unit of the token');
  return delivered;
}

async function payByCard(stage: Stage, { card }: Wallets, call: Call): Promise<Delivered> {
  const { narrator } = stage;
  narrator.step('Paid by card at Stripe, with mppx and a shared payment token');
  narrator.say('The card is authorised before the run, and charged when it has delivered.');
  const delivered = await makeCall(stage, call, card.fetch);
  const [payment, ...others] = await card.payments();
  must(payment && others.length === 0, 'there is one payment at Stripe');
  narrator.fact(
    'at Stripe',
    `${payment.id} ${payment.status}, $${(payment.amount_received / 100).toFixed(2)}`,
  );
  mustEqual(payment.status, 'succeeded', 'The payment at Stripe');
  mustEqual(payment.amount_received * MCENTS_PER_CENT, call.priceMcents, 'What Stripe captured');
  narrator.checked('Stripe captured the price, to the cent');
  return delivered;
}

async function makeCall(stage: Stage, call: Call, fetch: Fetch): Promise<Delivered> {
  const { narrator } = stage;
  const sent = await send(invokeUrl(stage, call.server), { fetch, body: toBody(call) });
  const answer = read(sent, 200, callAnswerSchema);
  const { rows, columns, duplicate_rows } = tableSchema.parse(answer.result.structuredContent);
  narrator.fact('result', `${rows} rows, ${columns.length} columns, ${duplicate_rows} rows twice`);
  narrator.fact('charged', `${formatDollars(BigInt(answer.charged_mcents))}, receipt ${answer.receipt_id}`);
  mustEqual(answer.charged_mcents, call.priceMcents, 'The charge');
  must(sent.headers.get('payment-receipt'), 'the answer has a Payment-Receipt');
  return { call, answer };
}

/** As an invoice asks for it: at the rate, with the spread, in whole satoshis. */
function toMsat(mcents: number): bigint {
  const scale = MILLICENTS_PER_BITCOIN * 100n;
  const sats = (BigInt(mcents) * (100n + SPREAD_PERCENT) * SATS_PER_BITCOIN + scale - 1n) / scale;
  return sats * MSAT_PER_SAT;
}
