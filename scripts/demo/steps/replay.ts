import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import type { Account } from '../chain.ts';
import { callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { mustEqual } from '../must.ts';
import { type Call, invokeUrl, type Stage, toBody } from '../stage.ts';
import type { PaidCall } from './pay-per-call.ts';

/** The connection broke and the agent asks again with the payment it made: same answer, no second charge. */
export async function replayPaidCall(
  stage: Stage,
  agent: Account,
  paid: PaidCall,
  calls: Calls,
): Promise<void> {
  const { narrator, chain } = stage;
  narrator.step('The answer got lost? The same payment gets it again, and pays nothing');
  const before = await chain.balanceOf(agent.address);
  const again = await sendWithCredential(stage, paid.call, paid.credential);
  const { result } = read(again, 200, callAnswerSchema);
  narrator.fact('same credential', '200, the stored answer');
  mustEqual(JSON.stringify(result), JSON.stringify(paid.answer.result), 'The result, byte for byte,');
  mustEqual(again.text, paid.answerText, 'The whole answer');

  const other: Call = calls.analyzeText('A payment buys one request, and no other.');
  const refused = read(await sendWithCredential(stage, other, paid.credential), 409, problemSchema);
  narrator.fact('other request', `409 ${refused.detail}`);
  const after = await chain.balanceOf(agent.address);
  narrator.fact('agent on chain', `${formatDollars(before)} -> ${formatDollars(after)}`);
  mustEqual(after, before, 'The balance of the agent');
  narrator.checked('one payment bought one execution of one request');
}

function sendWithCredential(stage: Stage, call: Call, credential: string) {
  const headers = { 'payment-signature': credential };
  return send(invokeUrl(stage, call.server), { headers, body: toBody(call) });
}
