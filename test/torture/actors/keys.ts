import { listWithin } from '../model/model.ts';
import type { KeyPlan } from '../plan/plan.ts';
import type { Storm } from '../storm.ts';
import { makeCall } from './calls.ts';

const PATIENCE_MS = 10_000;

/** Revokes a child's key, and with it those below, or gives it another secret, as the account's owner. */
export async function changeKey(storm: Storm, plan: KeyPlan): Promise<void> {
  const account = storm.model.accounts[plan.account];
  const key = account?.children[plan.child];
  const gateway = storm.world.fleet.near(plan.gateway);
  if (!account || !key || !gateway || key.revokeAskedAt !== undefined) return;
  const headers = { authorization: `Bearer ${account.key.text}` };
  // All of them know the key at the moment it ends.
  await Promise.all(plan.before.map((call) => makeCall(storm, call)));
  const ending = plan.kind === 'revoke' ? listWithin(account, plan.child) : [];
  // Rotations of one key are asked for one after the other: two at once leave nobody knowing which secret holds.
  for (const each of ending) each.revokeAskedAt ??= performance.now();
  const url = `${gateway.url}/v1/keys/${key.id}/${plan.kind}`;
  try {
    const { status, text } = await storm.wire.post(url, {}, { headers, patienceMs: PATIENCE_MS });
    storm.counts.add(`keys: ${plan.kind} ${status}`);
    if (status !== 200) return;
    if (plan.kind === 'revoke') {
      for (const each of ending) each.revokedAt ??= performance.now();
      await Promise.all(plan.after.map((call) => makeCall(storm, call)));
    } else {
      key.former = { text: key.text, replacedAt: performance.now() };
      key.text = (JSON.parse(text) as { key: string }).key;
    }
  } catch {
    storm.counts.add(`keys: ${plan.kind}, no answer`);
  }
}
