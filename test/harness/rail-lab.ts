import { railEnvironment } from '../../scripts/dev/rails.ts';
import { type StripeServer, startStripe } from '../../scripts/dev/stripe.ts';
import { silentLog } from '../../src/core/log.ts';
import type { RailName } from '../../src/payments/index.ts';
import { newReceiptKeyPem } from '../../src/provenance/index.ts';
import { type RpcProxy, startRpcProxy } from '../chain/rpc-proxy.ts';
import { type Anvil, startAnvil } from './chain.ts';
import { createTestDatabase, type TestDatabase } from './database.ts';
import { startTestGateway, type TestGateway, type TestGatewayOptions } from './gateway.ts';
import { type HaltingGateway, type HaltingGatewayOptions, startHaltingGateway } from './halting-gateway.ts';
import { type HttpProxy, startHttpProxy } from './http-proxy.ts';
import { startLightning, type TestLightning } from './lightning.ts';
import { startTempo, type Tempo } from './tempo.ts';

/** One installation: a database, rails behind doors that break on demand, and gateways that may die. */
export type RailLab = {
  database: TestDatabase;
  /** Each throws when the lab was started without it. */
  readonly anvil: Anvil;
  readonly tempo: Tempo;
  readonly lightning: TestLightning;
  readonly stripe: StripeServer;
  /** Between the gateways and a rail; Stripe has switches of its own. */
  doors: { evm?: RpcProxy; tempo?: RpcProxy; lightning?: HttpProxy };
  /** What makes a gateway use them. */
  environment: Record<string, string>;
  /** Everything answers again. */
  mend(): void;
  /** A gateway in this process, whose parts a test may change. */
  start(options?: Pick<TestGatewayOptions, 'env' | 'change' | 'publicUrl'>): Promise<TestGateway>;
  /** A gateway in a process of its own, that may be killed. */
  startHalting(
    options?: Pick<HaltingGatewayOptions, 'env' | 'haltJobsAt' | 'waits'>,
  ): Promise<HaltingGateway>;
  close(): Promise<void>;
};

export const ALL_RAILS: readonly RailName[] = ['evm', 'tempo', 'lightning', 'stripe'];

type Closing = (() => Promise<void>)[];

/** On a database of its own, or on one that is given and stays. */
export async function startRailLab(
  names: readonly RailName[] = ALL_RAILS,
  given?: TestDatabase,
): Promise<RailLab> {
  const closing: Closing = [];
  try {
    return await startParts({ names, given }, closing);
  } catch (error) {
    await closeAll(closing);
    throw error;
  }
}

async function startParts(
  { names, given }: { names: readonly RailName[]; given: TestDatabase | undefined },
  closing: Closing,
): Promise<RailLab> {
  const has = (name: RailName) => names.includes(name);
  const keep = async <T extends { close(): Promise<void> }>(starting: Promise<T>): Promise<T> => {
    const part = await starting;
    closing.unshift(part.close);
    return part;
  };
  const [database, anvil, tempo, lightning, stripe] = await Promise.all([
    given ?? keep(createTestDatabase()),
    has('evm') ? keep(startAnvil({ log: silentLog })) : undefined,
    has('tempo') ? keep(startTempo({ log: silentLog })) : undefined,
    has('lightning') ? keep(startLightning()) : undefined,
    has('stripe') ? keep(startStripe()) : undefined,
  ]);
  const doors = {
    ...(anvil && { evm: await keep(startRpcProxy(anvil.rpcUrl)) }),
    ...(tempo && { tempo: await keep(startRpcProxy(tempo.rpcUrl)) }),
    ...(lightning && { lightning: await keep(startHttpProxy(lightning.provider.url)) }),
  };
  const environment = {
    // One installation: what one gateway signs, the others' keys verify.
    RECEIPT_KEY: newReceiptKeyPem(),
    LIGHTNING_MINTS_PER_ADDRESS: '10000',
    ...(anvil && { ...railEnvironment.evm(anvil), EVM_RPC_URL: doors.evm?.url ?? '' }),
    ...(tempo && { ...railEnvironment.tempo(tempo), TEMPO_RPC_URL: doors.tempo?.url ?? '' }),
    ...(lightning && {
      ...railEnvironment.lightning(lightning),
      LIGHTNING_EMBEDDED_URL: doors.lightning?.url ?? '',
    }),
    ...(stripe && railEnvironment.stripe(stripe)),
  };
  return {
    ...{ database, doors, environment },
    get anvil() {
      return expectPart(anvil, 'evm');
    },
    get tempo() {
      return expectPart(tempo, 'tempo');
    },
    get lightning() {
      return expectPart(lightning, 'lightning');
    },
    get stripe() {
      return expectPart(stripe, 'stripe');
    },
    mend() {
      doors.evm?.decide(() => 'pass');
      doors.tempo?.decide(() => 'pass');
      doors.lightning?.decide(() => 'pass');
      stripe?.faults.clear();
    },
    async start(options = {}) {
      const env = { ...environment, ...options.env };
      const gateway = await startTestGateway({ database, ...options, env });
      let closed: Promise<void> | undefined;
      const close = () => {
        closed ??= gateway.close();
        return closed;
      };
      closing.unshift(close);
      return { ...gateway, close };
    },
    async startHalting(options = {}) {
      const env = { ...environment, ...options.env };
      const gateway = await startHaltingGateway({ database, ...options, env });
      closing.unshift(gateway.kill);
      return gateway;
    },
    close: () => closeAll(closing),
  };
}

function expectPart<T>(part: T | undefined, name: RailName): T {
  if (part === undefined) throw new Error(`this lab was started without ${name}`);
  return part;
}

/** Gateways first, then what they stand on. */
async function closeAll(closing: Closing): Promise<void> {
  for (const close of closing.splice(0)) await close();
}
