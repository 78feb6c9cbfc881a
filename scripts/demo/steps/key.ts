import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import type { Account } from '../chain.ts';
import { balanceSchema, issuedKeySchema, read, send } from '../http.ts';
import { mustEqual } from '../must.ts';
import { createPayingClient } from '../paying-client.ts';
import type { Stage } from '../stage.ts';

const TOP_UP_MCENTS = 60_000;

const toppedUpSchema = z.looseObject({ credited_mcents: z.int(), balance_mcents: z.int() });

/** Many small calls are cheaper by key: paid once on chain, then metered. Answers with the key. */
export async function buyKey(stage: Stage, agent: Account): Promise<string> {
  const { narrator, info } = stage;
  narrator.step('For many calls the agent buys a key, paid once and metered from then on');
  const { fetch } = createPayingClient(agent);
  const issued = read(await send(`${info.url}/v1/signup`, { fetch, body: {} }), 200, issuedKeySchema);
  const { key } = issued;
  narrator.fact('POST /v1/signup', `${key.slice(0, 12)}..., scopes ${issued.scopes.join(', ')}`);
  const body = { amount_mcents: TOP_UP_MCENTS };
  const toppedUp = read(await send(`${info.url}/v1/topup`, { fetch, key, body }), 200, toppedUpSchema);
  narrator.fact('POST /v1/topup', `${formatDollars(BigInt(toppedUp.credited_mcents))} more`);
  const balance = await readBalance(stage, key);
  narrator.fact('GET /v1/balance', formatDollars(BigInt(balance)));
  mustEqual(balance, issued.balance_mcents + TOP_UP_MCENTS, 'The balance of the key');
  return key;
}

/** What a key can still spend, in millicents. */
export async function readBalance({ info }: Stage, key: string): Promise<number> {
  const answer = read(await send(`${info.url}/v1/balance`, { key }), 200, balanceSchema);
  return answer.balance_mcents;
}
