/**
 * A whole gateway whose requests halt for good at the point that their `x-halt-at` header names. Killing the
 * process then is a crash with each of them exactly there.
 */

import { AsyncLocalStorage } from 'node:async_hooks';
import { z } from 'zod';
import type { Deps } from '../../../src/deps.ts';
import type { Rail } from '../../../src/payments/index.ts';
import { labelOf } from '../call-label.ts';
import { startTestGateway } from '../gateway.ts';

const input = z
  .object({
    databaseUrl: z.string(),
    env: z.record(z.string(), z.string()),
    /** Where whatever no request asked for halts: the jobs. */
    haltJobsAt: z.string().optional(),
    waits: z.object({ settleTimeoutMs: z.number(), outcomeWaitMs: z.number() }).optional(),
  })
  .parse(JSON.parse(process.env.HALTING_GATEWAY ?? '{}'));

const context = new AsyncLocalStorage<{ point: string | undefined; label: string }>();
const jobs = { point: input.haltJobsAt, label: 'a job' };
const say = (line: object) => process.stdout.write(`${JSON.stringify(line)}\n`);

async function halt(point: string): Promise<void> {
  const { point: wanted, label } = context.getStore() ?? jobs;
  if (wanted !== point) return;
  say({ kind: 'halted', point, label });
  await new Promise(() => {});
}

function haltInside({ http }: Deps): void {
  const { execution, rails, receipts, ledger } = http;
  http.settings = { ...http.settings, ...input.waits };
  http.execution = {
    ...execution,
    async run(call, signal) {
      await halt('before-run');
      const outcome = await execution.run(call, signal);
      const label = labelOf(call);
      say({ kind: 'ran', label, result: outcome.kind === 'delivered' ? outcome.result : null });
      await halt('after-run');
      return outcome;
    },
  };
  http.rails = rails.map((rail) => ({
    ...rail,
    ...haltAround(rail),
    async settle(intent, signal) {
      await halt('before-settle');
      const settlement = await rail.settle(intent, signal);
      await halt('after-settle');
      return settlement;
    },
  }));
  http.receipts = {
    ...receipts,
    async getReceipt(id) {
      await halt('before-answer');
      return receipts.getReceipt(id);
    },
  };
  http.ledger = {
    ...ledger,
    async balance(accountId) {
      await halt('before-answer');
      return ledger.balance(accountId);
    },
  };
}

/** Only rails that can hold are asked to. */
function haltAround({ hold }: Rail): Pick<Rail, 'hold'> {
  if (!hold) return {};
  return {
    async hold(intent, signal) {
      await halt('before-hold');
      const holding = await hold(intent, signal);
      await halt('after-hold');
      return holding;
    },
  };
}

const fetchChain = globalThis.fetch;
globalThis.fetch = async (target, init) => {
  const isBroadcast = typeof init?.body === 'string' && init.body.includes('"eth_sendRawTransaction"');
  if (isBroadcast) await halt('before-broadcast');
  const response = await fetchChain(target, init);
  if (isBroadcast) await halt('after-broadcast');
  return response;
};

const gateway = await startTestGateway({
  database: { url: input.databaseUrl },
  env: input.env,
  change: haltInside,
  around(request, answer) {
    const point = request.headers.get('x-halt-at') ?? undefined;
    return context.run({ point, label: request.headers.get('x-label') ?? '' }, answer);
  },
});
say({ kind: 'ready', url: gateway.url });
process.stdin.resume();
process.stdin.once('end', () => process.exit());
