import type { Clock } from '../../../core/clock.ts';
import type { Log } from '../../../core/log.ts';
import type { Invoices } from '../../invoice/invoice.ts';
import type { LightningNetwork, Rail } from '../../rail.ts';
import { LIGHTNING_TIMEOUTS, type LightningSettings, type LightningTimeouts } from './context.ts';
import { createEmbeddedProvider } from './embedded/index.ts';
import { createHealth } from './health.ts';
import { createLightningRail } from './lightning-rail.ts';
import type { LightningProvider } from './provider.ts';
import { createClnProvider } from './providers/cln.ts';
import { createLnbitsProvider } from './providers/lnbits.ts';
import { createLndProvider } from './providers/lnd/lnd.ts';
import { createNwcProvider } from './providers/nwc.ts';
import { createPhoenixdProvider } from './providers/phoenixd.ts';
import {
  createFixedRate,
  createRate,
  createRateSource,
  type Rate,
  type RateSourceName,
} from './rate/index.ts';

/** Which node receives, and how it is reached. */
export type LightningNodeOptions =
  | { kind: 'lnd'; url: string; macaroonHex: string; tlsCa?: string }
  | { kind: 'cln'; url: string; rune: string; tlsCa?: string }
  | { kind: 'lnbits'; url: string; invoiceKey: string; adminKey?: string }
  | { kind: 'phoenixd'; url: string; password: string }
  | { kind: 'nwc'; url: string }
  | { kind: 'embedded'; url: string; token: string };

export type RateOptions =
  | { kind: 'sources'; names: readonly RateSourceName[]; refreshMs: number }
  | { kind: 'fixed'; millicentsPerBtc: bigint };

export type LightningOptions = LightningSettings & {
  node: LightningNodeOptions;
  network: LightningNetwork;
  rate: RateOptions;
  spreadBps: bigint;
};

export type StartedLightning = {
  rail: Rail;
  /** The node itself, for payouts. */
  provider: LightningProvider;
  /** Why nothing is offered now; undefined when it is. */
  trouble(): string | undefined;
  close(): Promise<void>;
};

const HEALTH_EVERY_MS = 3_000;
const HEALTH_TIMEOUT_MS = 5_000;

/**
 * The rail with its node, its rate and its health. Both are looked at once before it returns, so that the first
 * challenge can offer it, and then in the background until it is closed. A node that is down is no error: the
 * rail offers nothing until it is back.
 */
export async function startLightning(
  deps: { invoices: Invoices; clock: Clock; log: Log; timeouts?: LightningTimeouts },
  options: LightningOptions,
): Promise<StartedLightning> {
  const { clock, log, invoices, timeouts = LIGHTNING_TIMEOUTS } = deps;
  const provider = createProvider(options, clock);
  const rate = createRateOf(options, { clock, log });
  const health = createHealth({ provider, log, everyMs: HEALTH_EVERY_MS, timeoutMs: HEALTH_TIMEOUT_MS });
  const stop = new AbortController();
  await Promise.all([health.check(stop.signal), rate.refresh(stop.signal)]);
  const loops = Promise.all([health.run(stop.signal), rate.run(stop.signal)]);
  const { amountMin, mintsPerAddress, mintsTotal, heldMax } = options;
  const settings = { amountMin, mintsPerAddress, mintsTotal, heldMax };
  return {
    rail: createLightningRail({ provider, invoices, rate, health, clock, log, settings, timeouts }),
    provider,
    trouble() {
      if (!health.isUp()) return 'the node does not answer';
      return rate.current() ? undefined : 'there is no exchange rate to trust';
    },
    async close() {
      stop.abort();
      await loops;
    },
  };
}

/** The adapter of a node. */
export function createProvider(
  { node, network }: Pick<LightningOptions, 'node' | 'network'>,
  clock: Clock,
): LightningProvider {
  switch (node.kind) {
    case 'lnd':
      return createLndProvider({ ...node, network, clock });
    case 'cln':
      return createClnProvider({ ...node, network });
    case 'lnbits':
      return createLnbitsProvider({ ...node, network, clock });
    case 'phoenixd':
      return createPhoenixdProvider({ ...node, network, clock });
    case 'nwc':
      return createNwcProvider({ ...node, network, clock });
    case 'embedded':
      return createEmbeddedProvider(node);
    default:
      return node satisfies never;
  }
}

function createRateOf(options: LightningOptions, { clock, log }: { clock: Clock; log: Log }): Rate {
  const { rate, spreadBps } = options;
  if (rate.kind === 'fixed') return createFixedRate({ ...rate, spreadBps, clock });
  const sources = rate.names.map((name) => createRateSource(name));
  return createRate({ sources, clock, log, refreshMs: rate.refreshMs, spreadBps });
}
