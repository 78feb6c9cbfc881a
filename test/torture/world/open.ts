import type { Sql } from '../../../src/db/index.ts';
import { hashKey } from '../../../src/keys/key-text.ts';
import { connectGateway, type GatewayClient } from '../../harness/gateway.ts';
import type { AccountState, KeyState, Model } from '../model/model.ts';
import type { AccountPlan, ChildPlan } from '../plan/accounts.ts';
import type { World } from './world.ts';

const AT_ONCE = 16;

/** Mints every account and its children, before anything breaks. */
export async function openAccounts(world: World, plans: readonly AccountPlan[]): Promise<Model> {
  const gateway = connectGateway(world.fleet.at(0)?.url ?? '');
  const accounts: AccountState[] = [];
  for (let done = 0; done < plans.length; done += AT_ONCE) {
    const some = plans.slice(done, done + AT_ONCE);
    accounts.push(...(await Promise.all(some.map((plan) => openAccount(gateway, world.postgres.sql, plan)))));
  }
  return { accounts, calls: new Map() };
}

async function openAccount(gateway: GatewayClient, sql: Sql, plan: AccountPlan): Promise<AccountState> {
  const text = await gateway.mint(plan.balance, ['example', 'invoke']);
  const [row] = await sql<{ id: string; accountId: string }[]>`
    SELECT id, account_id FROM api_key WHERE hash = ${hashKey(text)}`;
  if (!row) throw new Error('a key was minted and is not there');
  const key = newKey({ text, id: row.id, caps: undefined });
  const children: KeyState[] = [];
  for (const child of plan.children) {
    const parent = child.parent === undefined ? key : children[child.parent];
    children.push(await openChild(gateway, parent?.text ?? '', child));
  }
  return { plan, id: row.accountId, key, children, toppedUp: 0 };
}

async function openChild(gateway: GatewayClient, parent: string, { caps }: ChildPlan): Promise<KeyState> {
  const response = await gateway.fetch('/v1/keys', {
    method: 'POST',
    headers: { authorization: `Bearer ${parent}`, 'content-type': 'application/json' },
    body: JSON.stringify({
      caps: { per_call_mcents: caps.perCall, per_hour_mcents: caps.perHour, total_mcents: caps.total },
    }),
  });
  const child = (await response.json()) as { key: string; id: string };
  if (!response.ok) throw new Error(`no child: ${JSON.stringify(child)}`);
  return newKey({ text: child.key, id: child.id, caps });
}

function newKey(known: Pick<KeyState, 'text' | 'id' | 'caps'>): KeyState {
  return { ...known, former: undefined, revokeAskedAt: undefined, revokedAt: undefined };
}
