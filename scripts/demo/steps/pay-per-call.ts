import { decodePaymentRequiredHeader } from '@x402/core/http';
import { decodePaymentResponseHeader } from '@x402/fetch';
import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import type { Account } from '../chain.ts';
import { callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { createPayingClient } from '../paying-client.ts';
import { type Call, type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';

/** A paid call with what it takes to send the very same request again. */
export type PaidCall = Delivered & { credential: string; answerText: string; transaction: string };

/** An agent calls without paying, reads the 402, and pays it with the stock client. */
export async function payPerCall(stage: Stage, agent: Account, calls: Calls): Promise<PaidCall> {
  const call = calls.compareLicences();
  await showUnpaidCall(stage, call);
  return makePaidCall(stage, agent, call);
}

async function showUnpaidCall(stage: Stage, call: Call): Promise<void> {
  const { narrator, info } = stage;
  narrator.step('An agent calls a tool without paying, and is told the price');
  narrator.say('It wants to know how two versions of a licence differ, 25 KB each.');
  const answer = await send(invokeUrl(stage, call.server), { body: toBody(call) });
  const problem = read(answer, 402, problemSchema);
  const required = decodePaymentRequiredHeader(answer.headers.get('payment-required') ?? '');
  const [offer] = required.accepts;
  must(offer, 'the challenge offers a way to pay');
  narrator.fact('answer', `402 ${problem.title}: ${problem.detail}`);
  narrator.fact('PAYMENT-REQUIRED', `x402 version ${required.x402Version}, scheme "${offer.scheme}"`);
  narrator.fact('amount', `${offer.amount} units of token ${offer.asset}`);
  narrator.fact('pay to', `${offer.payTo} on ${offer.network}`);
  mustEqual(offer.amount, String(call.priceMcents * 10), 'The amount asked for, in token units');
  mustEqual(offer.payTo.toLowerCase(), info.evm.payTo.toLowerCase(), 'The payee');
  mustEqual(problem.note, 'no charge applied', 'The note');
}

async function makePaidCall(stage: Stage, agent: Account, call: Call): Promise<PaidCall> {
  const { narrator, info, chain } = stage;
  narrator.step('The agent pays for this one call, with the unmodified @x402/fetch client');
  const [agentBefore, gatewayBefore] = await readBalances(stage, agent);
  const client = createPayingClient(agent);
  const sent = await send(invokeUrl(stage, call.server), { fetch: client.fetch, body: toBody(call) });
  const answer = read(sent, 200, callAnswerSchema);
  const [agentAfter, gatewayAfter] = await readBalances(stage, agent);
  const payment = decodePaymentResponseHeader(sent.headers.get('payment-response') ?? '');
  const { similarity, change_count, deleted, inserted } = answer.result.structuredContent;
  narrator.fact(
    'result',
    `${change_count} changes: ${deleted} words out, ${inserted} in; similarity ${similarity}`,
  );
  narrator.fact('charged', formatDollars(BigInt(answer.charged_mcents)));
  narrator.fact('transaction', payment.transaction);
  narrator.fact('receipt', answer.receipt_id ?? 'none');
  narrator.fact('agent on chain', `${formatDollars(agentBefore)} -> ${formatDollars(agentAfter)}`);
  narrator.fact('gateway on chain', `${formatDollars(gatewayBefore)} -> ${formatDollars(gatewayAfter)}`);
  mustEqual(answer.charged_mcents, call.priceMcents, 'The charge');
  mustEqual(agentBefore - agentAfter, BigInt(call.priceMcents), 'What left the agent on chain');
  mustEqual(gatewayAfter - gatewayBefore, BigInt(call.priceMcents), 'What reached the gateway on chain');
  mustEqual(payment.success, true, 'PAYMENT-RESPONSE success');
  must(answer.receipt_id, 'a paid call has a receipt');
  narrator.checked('the price, the charge and both balances on chain agree');
  const credential = client.lastCredential();
  must(credential, 'the client sent a payment');
  return { call, answer, credential, answerText: sent.text, transaction: payment.transaction };

  function readBalances({ chain: { balanceOf } }: Stage, { address }: Account): Promise<[bigint, bigint]> {
    return Promise.all([balanceOf(address), chain.balanceOf(info.evm.payTo)]);
  }
}
