import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import type { Account } from '../chain.ts';
import { problemSchema, read, send } from '../http.ts';
import { mustEqual } from '../must.ts';
import { createPayingClient } from '../paying-client.ts';
import { invokeUrl, type Stage, toBody } from '../stage.ts';

/** A tool that does not deliver is not paid: the signed payment is never brought to the chain. */
export async function failPaidCall(stage: Stage, agent: Account, calls: Calls): Promise<void> {
  const { narrator, chain } = stage;
  narrator.step('A call that fails costs nothing, although its payment was signed');
  narrator.say('orders-broken.csv lost the quotes around a name with a comma in it.');
  const call = calls.profileBrokenTable();
  const before = await chain.balanceOf(agent.address);
  const client = createPayingClient(agent);
  const answer = await send(invokeUrl(stage, call.server), { fetch: client.fetch, body: toBody(call) });
  const problem = read(answer, 502, problemSchema);
  const after = await chain.balanceOf(agent.address);
  narrator.fact('answer', `502 ${problem.title}: ${problem.detail}`);
  narrator.fact('note', problem.note ?? 'none');
  narrator.fact('agent on chain', `${formatDollars(before)} -> ${formatDollars(after)}`);
  mustEqual(client.lastCredential() !== undefined, true, 'That the client signed a payment');
  mustEqual(problem.note, 'no charge applied', 'The note');
  mustEqual(after, before, 'The balance of the agent');
  narrator.checked('the agent learned why, and still has its money');
}
