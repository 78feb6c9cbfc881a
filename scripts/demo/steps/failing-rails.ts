import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import { type Answer, callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { type Call, type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';
import type { Wallets } from '../wallets.ts';
import { readBalance } from './key.ts';

const creditSchema = problemSchema.extend({ refund_key: z.string(), refund_mcents: z.int() });

/** A call that fails is free on rails that can hold: what was held goes back. */
export async function failOnEveryRail(stage: Stage, wallets: Wallets, broken: Call): Promise<void> {
  stage.narrator.step('The same tool on the broken table: what was held goes back');
  await failOnLightning(stage, wallets, broken);
  await failByCard(stage, wallets, broken);
}

async function failOnLightning(stage: Stage, { lightning }: Wallets, call: Call): Promise<void> {
  const { narrator } = stage;
  const before = await lightning.balanceMsat();
  const url = invokeUrl(stage, call.server);
  const [, macaroon, invoice] =
    /L402 macaroon="([^"]+)", invoice="([^"]+)"/.exec(
      (await send(url, { body: toBody(call) })).headers.get('www-authenticate') ?? '',
    ) ?? [];
  must(macaroon && invoice, 'the 402 has an L402 challenge');
  const isPaid = await lightning.payInvoice(invoice).then(
    () => true,
    () => false,
  );
  mustEqual(isPaid, false, 'Whether the payment went through');
  const asked = await send(url, { headers: { authorization: `L402 ${macaroon}:` }, body: toBody(call) });
  mustEqual(await lightning.balanceMsat(), before, "The agent's balance, in millisatoshis,");
  showFailure(stage, 'Lightning', asked);
  narrator.checked(`the invoice was paid and the money came back, to the millisatoshi: ${before} msat`);
}

async function failByCard(stage: Stage, { card }: Wallets, call: Call): Promise<void> {
  const { narrator } = stage;
  const answer = await send(invokeUrl(stage, call.server), { fetch: card.fetch, body: toBody(call) });
  showFailure(stage, 'Stripe', answer);
  const [payment] = await card.payments();
  mustEqual(payment?.status, 'canceled', 'The latest payment at Stripe');
  mustEqual(payment?.amount_received, 0, 'What Stripe captured of it');
  narrator.checked(`${payment?.id} was authorised and then cancelled: the card was charged nothing`);
}

function showFailure({ narrator }: Stage, rail: string, answer: Answer): void {
  const problem = read(answer, 502, problemSchema);
  mustEqual(problem.note, 'no charge applied', 'The note');
  narrator.fact(rail, `502 ${problem.detail}`);
}

/** Where money cannot go back it becomes credit, on a key that comes with the answer. */
export async function creditFailedCall(
  stage: Stage,
  { tempo }: Wallets,
  { broken, calls }: { broken: Call; calls: Calls },
): Promise<{ key: string; delivered: Delivered }> {
  const { narrator } = stage;
  narrator.step('Money that cannot go back becomes credit');
  narrator.say(
    'On Tempo a client may send the money itself and show the transaction: it is gone before the run.',
  );
  const request = { fetch: tempo.fetchBy('push'), body: toBody(broken) };
  const failed = await send(invokeUrl(stage, broken.server), request);
  const { refund_key: key, refund_mcents: refund, note } = read(failed, 502, creditSchema);
  narrator.fact('answer', `502, ${note}`);
  narrator.fact('refund key', `${key.slice(0, 12)}..., ${formatDollars(BigInt(refund))}`);
  mustEqual(refund, broken.priceMcents, 'The credit');
  const call = calls.analyzeText('Money that came for nothing is not lost.');
  const answer = read(
    await send(invokeUrl(stage, call.server), { key, body: toBody(call) }),
    200,
    callAnswerSchema,
  );
  mustEqual(answer.charged_mcents, call.priceMcents, 'The charge');
  mustEqual(await readBalance(stage, key), refund - call.priceMcents, 'What is left of the credit');
  narrator.checked(
    `the credit pays for other calls: ${formatDollars(BigInt(answer.charged_mcents))} of it just did`,
  );
  return { key, delivered: { call, answer } };
}
