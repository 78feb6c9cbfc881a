import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import { callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { mustEqual } from '../must.ts';
import { type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';
import { readBalance } from './key.ts';

/** Enough for two calls, and not for a third. */
const CAP_MCENTS = 600;

const childSchema = z.looseObject({ ok: z.literal(true), id: z.string(), key: z.string() });

/** A key for a helper of the agent's, which spends the agent's balance and stops at its cap. */
export async function stopAtCap(stage: Stage, agentKey: string, calls: Calls): Promise<Delivered[]> {
  const { narrator, info } = stage;
  narrator.step('A child key: the same balance, one tool, and a cap that stops it');
  const call = calls.findKeyPhrases();
  const allowed = Math.floor(CAP_MCENTS / call.priceMcents);
  const body = { caps: { total_mcents: CAP_MCENTS }, tools: [`${call.server}/${call.tool}`] };
  const child = read(await send(`${info.url}/v1/keys`, { key: agentKey, body }), 200, childSchema);
  narrator.fact('POST /v1/keys', `${child.key.slice(0, 12)}..., ${formatDollars(BigInt(CAP_MCENTS))} in all`);
  const before = await readBalance(stage, agentKey);
  const request = { key: child.key, body: toBody(call) };
  const delivered: Delivered[] = [];
  for (let count = 0; count < allowed; count += 1) {
    const answer = read(await send(invokeUrl(stage, call.server), request), 200, callAnswerSchema);
    delivered.push({ call, answer });
  }
  const stopped = read(await send(invokeUrl(stage, call.server), request), 403, problemSchema);
  narrator.fact(`call ${allowed + 1}`, `403 ${stopped.detail}`);
  const other = calls.analyzeText('Is this allowed?');
  const forbidden = await send(invokeUrl(stage, other.server), { key: child.key, body: toBody(other) });
  narrator.fact('another tool', `403 ${read(forbidden, 403, problemSchema).detail}`);
  const spent = before - (await readBalance(stage, agentKey));
  mustEqual(spent, allowed * call.priceMcents, 'What left the balance of the agent');
  narrator.checked(
    `${allowed} calls for ${formatDollars(BigInt(spent))} left the agent's balance, and not one more`,
  );
  return delivered;
}
