import { setTimeout as sleep } from 'node:timers/promises';
import { FORGETTING_MS, makeCall } from '../actors/calls.ts';
import type { AccountState } from '../model/model.ts';
import { planPlainCall } from '../plan/calls.ts';
import type { Storm } from '../storm.ts';
import { askAt } from './at-rest.ts';

const PATIENCE_MS = 10_000;
const LONG_SECONDS = 3_600;

/** The first secret was to work on beside the second one; the third one ends both, and it is tried at every gateway. */
export async function probeRotations(storm: Storm): Promise<void> {
  const { owner, child, key } = findUntouched(storm) ?? {};
  if (!owner || !key) return;
  const first = key.text;
  key.text = (await rotate(storm, { owner, id: key.id, overlap: LONG_SECONDS })) ?? key.text;
  const third = await rotate(storm, { owner, id: key.id, overlap: 0 });
  if (third === undefined) return;
  key.text = third;
  key.former = { text: first, replacedAt: performance.now() };
  await sleep(FORGETTING_MS + 100);
  for (let gateway = 0; gateway < storm.world.options.gateways; gateway += 1) {
    const label = `a call at ${gateway} with the last secret but one`;
    const plan = planPlainCall({ at: 0, label, account: owner.plan.index, child, gateway });
    await makeCall(storm, { ...plan, usesFormerSecret: true });
  }
  storm.counts.add('keys rotated twice');
}

function findUntouched({ model }: Storm) {
  const children = model.accounts.flatMap((owner) =>
    owner.children.map((key, child) => ({ owner, key, child })),
  );
  return children.find(({ key }) => key.revokeAskedAt === undefined && key.former === undefined);
}

type Rotating = { owner: AccountState; id: string; overlap: number };

async function rotate(storm: Storm, { owner, id, overlap }: Rotating): Promise<string | undefined> {
  const headers = { authorization: `Bearer ${owner.key.text}` };
  const url = `${askAt(storm, 0)}/v1/keys/${id}/rotate`;
  const body = { overlap_seconds: overlap };
  const { status, text } = await storm.wire.post(url, body, { headers, patienceMs: PATIENCE_MS });
  return status === 200 ? (JSON.parse(text) as { key: string }).key : undefined;
}
