import { setTimeout as sleep } from 'node:timers/promises';
import { type Clock, systemClock } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import { millicents } from '../../../../src/core/money.ts';
import type { PreimageForm } from '../../../../src/payments/form.ts';
import { createInvoices, type Invoices } from '../../../../src/payments/invoice/index.ts';
import type { Arrival, Bolt11Offer, Rail } from '../../../../src/payments/rail.ts';
import {
  createFixedRate,
  createHealth,
  createLightningRail,
  type LightningProvider,
  type LightningSettings,
  type LightningTimeouts,
  type Rate,
} from '../../../../src/payments/rails/lightning/index.ts';
import { createTestDatabase, type TestDatabase } from '../../../harness/database.ts';
import { startLightning, type TestLightning } from '../../../harness/lightning.ts';

/** $100,000 for a bitcoin: a satoshi is 100 millicents, which is easy to check by eye. */
export const RATE_MILLICENTS_PER_BTC = 10_000_000_000n;
export const SPREAD_BPS = 100n;

export type LabRailOptions = {
  provider?: LightningProvider;
  settings?: Partial<LightningSettings>;
  timeouts?: Partial<LightningTimeouts>;
  rate?: Rate;
  clock?: Clock;
  /** Nobody has looked at the node yet. */
  isUnchecked?: boolean;
};

/** Two real nodes with a channel, a database, and rails over them. */
export type LightningLab = {
  readonly provider: LightningProvider;
  readonly invoices: Invoices;
  readonly database: TestDatabase;
  readonly lightning: TestLightning;
  rail(options?: LabRailOptions): Promise<Rail>;
  /** The agent pays; resolves with the preimage once the gateway took the payment, rejects when it did not. */
  pay(invoice: string): Promise<string>;
  /** Millisatoshis that the gateway's node owns. */
  received(): Promise<bigint>;
  close(): Promise<void>;
};

const SETTINGS: LightningSettings = {
  amountMin: millicents(100n),
  mintsPerAddress: 10_000,
  mintsTotal: 10_000,
  heldMax: 100,
};
const TIMEOUTS: LightningTimeouts = {
  ...{ mintMs: 5_000, lookMs: 5_000, settleMs: 10_000, confirmMs: 300, sweepMs: 100 },
};
const STILL_READS = 6;
const SECRET = Buffer.alloc(32, 7);

export async function startLightningLab(): Promise<LightningLab> {
  const lightning = await startLightning();
  const provider = lightning.node;
  const database = await createTestDatabase();
  const invoices = createInvoices({ sql: database.sql, secrets: [SECRET] });
  const signal = () => AbortSignal.timeout(10_000);
  return {
    ...{ provider, invoices, database, lightning },
    async rail(options = {}) {
      const node = options.provider ?? provider;
      const { clock = systemClock } = options;
      const health = createHealth({ provider: node, log: silentLog, everyMs: 1_000, timeoutMs: 2_000 });
      if (!options.isUnchecked) await health.check(signal());
      const rate =
        options.rate ??
        createFixedRate({ millicentsPerBtc: RATE_MILLICENTS_PER_BTC, spreadBps: SPREAD_BPS, clock });
      return createLightningRail({
        ...{ invoices, rate, health, clock, provider: node, log: silentLog },
        settings: { ...SETTINGS, ...options.settings },
        timeouts: { ...TIMEOUTS, ...options.timeouts },
      });
    },
    async pay(invoice) {
      const paid = await lightning.pay(invoice);
      if ('preimage' in paid) return paid.preimage;
      throw new Error(paid.error);
    },
    async received() {
      // The two nodes agree on a channel's balance a moment after a payment was taken.
      let msat = (await provider.balance(signal())).msat;
      for (let still = 0; still < STILL_READS; ) {
        await sleep(25);
        const next = (await provider.balance(signal())).msat;
        still = next === msat ? still + 1 : 0;
        msat = next;
      }
      return msat;
    },
    async close() {
      await lightning.close();
      await database.close();
    },
  };
}

/** Polls something that is about to happen elsewhere. */
export async function pollUntil(isThere: () => Promise<boolean>, withinMs = 10_000): Promise<void> {
  const until = performance.now() + withinMs;
  while (!(await isThere())) {
    if (performance.now() > until) throw new Error('it did not happen in time');
    await sleep(20);
  }
}

export type Watching = {
  arrivals: Arrival[];
  /** The first arrival of this payment. */
  of(paymentHash: string): Promise<Arrival>;
  stop(): Promise<void>;
};

/** Watches a rail; `react` is what the gateway does with an arrival. */
export function watch(rail: Rail, react: (arrival: Arrival) => Promise<void> = async () => {}): Watching {
  const stop = new AbortController();
  const arrivals: Arrival[] = [];
  const watching = rail.watch?.(async (arrival) => {
    arrivals.push(arrival);
    await react(arrival);
  }, stop.signal);
  const find = (paymentHash: string) => arrivals.find((each) => hashOf(each) === paymentHash);
  return {
    arrivals,
    async of(paymentHash) {
      await pollUntil(async () => find(paymentHash) !== undefined);
      const found = find(paymentHash);
      if (!found) throw new Error('no such arrival');
      return found;
    },
    async stop() {
      stop.abort();
      await watching;
    },
  };
}

export function hashOf({ authorization }: Arrival): string {
  return authorization.claimKey.replace('lightning:', '');
}

export function formOf(offer: Bolt11Offer, preimage = ''): PreimageForm {
  return { kind: 'preimage', paymentHash: offer.paymentHash, preimage };
}

export type Faults = {
  /** Fails without having reached the node. */
  before: Set<keyof LightningProvider>;
  /** Fails after the node has acted. */
  after: Set<keyof LightningProvider>;
};

/** The real node behind a line that can break before and after it acts. */
export function breakable(
  provider: LightningProvider,
  over: Partial<LightningProvider> = {},
): { provider: LightningProvider; faults: Faults } {
  const faults: Faults = { before: new Set(), after: new Set() };
  const through =
    <A extends unknown[], R>(name: keyof LightningProvider, call: (...given: A) => Promise<R>) =>
    async (...given: A): Promise<R> => {
      if (faults.before.has(name)) throw new Error(`the line broke before ${name}`);
      const answer = await call(...given);
      if (faults.after.has(name)) throw new Error(`the line broke after ${name}`);
      return answer;
    };
  const whole = { ...provider, ...over };
  return {
    faults,
    provider: {
      ...whole,
      createInvoice: through('createInvoice', whole.createInvoice),
      lookup: through('lookup', whole.lookup),
      settle: through('settle', whole.settle),
      cancel: through('cancel', whole.cancel),
      health: through('health', whole.health),
      balance: through('balance', whole.balance),
    },
  };
}
