import { privateKeyToAccount } from 'viem/accounts';
import { z } from 'zod';
import { createChainClient, createWriter } from '../../src/chain/index.ts';
import { silentLog } from '../../src/core/log.ts';
import { openDatabase } from '../../src/db/index.ts';

const hex = z.custom<`0x${string}`>((value) => typeof value === 'string' && value.startsWith('0x'));
const env = z
  .object({
    DATABASE: z.string(),
    RPC: z.string(),
    CHAIN_ID: z.coerce.number(),
    KEY: hex,
    TO: hex,
    REF: z.string(),
  })
  .parse(process.env);

/** A gateway of its own that sends one transaction, for tests that kill it on the way. */
const { sql } = openDatabase({ url: env.DATABASE, poolMax: 2, applicationName: 'sender' });
const writer = createWriter({
  sql,
  client: createChainClient({ chainId: env.CHAIN_ID, rpcUrl: env.RPC, timeouts: { callMs: 60_000 } }),
  account: privateKeyToAccount(env.KEY),
  confirmations: 1,
  log: silentLog,
  feeMaxWei: 100_000_000_000n,
  timeouts: { receiptMs: 60_000, pollMs: 50, replaceMs: 30_000 },
});
await writer.send({ ref: env.REF, to: env.TO, data: '0x', gasLimit: 21_000n }, AbortSignal.timeout(60_000));
