import { z } from 'zod';
import { openDatabase } from '../../../src/db/index.ts';
import type { AnchorContract } from '../../../src/provenance/anchoring/anchor-chain.ts';
import { buildGateway } from './build.ts';
import { appendLeaves } from './lab.ts';

const hex = z.custom<`0x${string}`>((value) => typeof value === 'string' && value.startsWith('0x'));
const input = z
  .object({
    databaseUrl: z.string(),
    rpcUrl: z.string(),
    chainId: z.number(),
    contracts: z.object({ versions: hex, receipts: hex }),
    walletKey: hex,
    keyPem: z.string(),
    haltAt: z.enum(['append', 'sign', 'plan', 'mined', 'confirm', 'never']),
  })
  .parse(JSON.parse(process.env.CRASHING_GATEWAY ?? ''));

/** A gateway of its own that appends, signs and anchors until it gets to where it halts, to be killed there. */
const { sql } = openDatabase({ url: input.databaseUrl, poolMax: 4, applicationName: 'crashing' });

async function haltAt(point: typeof input.haltAt): Promise<void> {
  if (input.haltAt !== point) return;
  process.stdout.write('halted\n');
  await new Promise((resolve) => setInterval(resolve, 3_600_000));
}

const wrap = (contract: AnchorContract): AnchorContract => ({
  ...contract,
  async submit(...call) {
    await haltAt('plan');
    return contract.submit(...call);
  },
  async findMined(...call) {
    await haltAt('mined');
    return contract.findMined(...call);
  },
  async readStanding(...call) {
    await haltAt('confirm');
    return contract.readStanding(...call);
  },
});

const { chainId, rpcUrl, contracts, walletKey, keyPem } = input;
const chain = { chainId, rpcUrl, contracts, account: walletKey, wrap };
const { logs, anchoring } = buildGateway({ sql, keyPem, chains: [chain] });
const signal = new AbortController().signal;
// A first round pins the contracts, and plans nothing while nothing is signed.
await anchoring.tick(chainId, signal);
await appendLeaves(sql, logs, 3);
await haltAt('append');
await logs.versions.sign();
await haltAt('sign');
for (;;) {
  await anchoring.tick(chainId, signal);
  await new Promise((resolve) => setTimeout(resolve, 50));
}
