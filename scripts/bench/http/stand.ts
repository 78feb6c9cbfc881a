import { newKeyText } from '../../../src/keys/index.ts';
import type { Books } from '../books.ts';
import { startDurableObject } from '../durable-object/peer.ts';
import type { ThrowAwayPostgres } from '../postgres.ts';
import type { LoadGenerator } from './load.ts';
import { type HttpSample, measureLoad } from './measure.ts';
import { type PaidGateway, startPaidGateway } from './paid-gateway.ts';
import { startServer } from './server-process.ts';
import { type HttpKind, type HttpVariant, partsOf } from './variants.ts';

/** Every server that the rows need, running side by side. */
export type HttpStand = {
  /** One run of load against the server of this variant. */
  measure(variant: HttpVariant, seconds: number): Promise<HttpSample>;
  /** Whether the ledgers agree with what callers were told. */
  prove(): Promise<Books[]>;
  stop(): Promise<void>;
};

export type StandOptions = {
  postgres: ThrowAwayPostgres;
  generator: LoadGenerator;
  /** What keeps a server on its core. */
  pin: string[];
  kinds: readonly HttpKind[];
  /** The Node for the simulator of the durable object. */
  durableObjectNode: string | undefined;
};

type Load = { connections: number; seconds: number };
/** Who takes the load of a kind; its books, where it keeps any. */
type Seat = {
  run(load: Load): Promise<HttpSample>;
  prove?(): Promise<Books[]>;
  stop(): Promise<void>;
};

export async function startStand(options: StandOptions): Promise<HttpStand> {
  const starts = new Map<HttpKind, () => Promise<Seat>>();
  const needs = (kind: HttpKind) => options.kinds.includes(kind);
  let shared: Promise<PaidGateway> | undefined;
  // One gateway with all rails sells and demands, as it does in production.
  const share = () => {
    shared ??= startGatewayFor(options, { name: 'gateway' });
    return shared;
  };
  if (needs('paid')) starts.set('paid', async () => seatPaid(await share()));
  if (needs('challenge')) starts.set('challenge', async () => seatChallenge(await share()));
  if (needs('invoice')) {
    starts.set('invoice', async () =>
      seatChallenge(await startGatewayFor(options, { name: 'invoices', withInvoices: true })),
    );
  }
  if (needs('do')) starts.set('do', () => seatDurableObject(options));
  for (const kind of ['bare', 'commit', 'x402', 'mppx'] as const) {
    if (needs(kind)) starts.set(kind, () => seatPeer(options, kind));
  }
  // One that does not start is told where it is measured, and takes no other row with it.
  const seats = new Map<HttpKind, Seat | { failure: unknown }>();
  for (const [kind, start] of starts) {
    seats.set(kind, await start().catch((failure: unknown) => ({ failure })));
  }
  const started = [...seats.values()].filter((seat) => 'run' in seat);
  return {
    measure(variant, seconds) {
      const { kind, connections } = partsOf(variant);
      const seat = seats.get(kind);
      if (!seat) throw new Error(`there is no server for ${variant}`);
      if ('failure' in seat) throw seat.failure;
      return seat.run({ connections, seconds });
    },
    prove: async () => (await Promise.all(started.map((seat) => seat.prove?.() ?? []))).flat(),
    stop: async () => {
      await Promise.all(started.map((seat) => seat.stop()));
    },
  };
}

function startGatewayFor(
  { postgres, generator, pin }: StandOptions,
  kind: { name: string; withInvoices?: boolean },
): Promise<PaidGateway> {
  return startPaidGateway({ postgres, generator, pin, withRails: true, ...kind });
}

/** Each paid run has a key of its own, because no key may hold what all of them spend. */
function seatPaid(paid: PaidGateway): Seat {
  return {
    run: async (load) => paid.pay({ ...load, keys: [await paid.gateway.mint()] }),
    prove: paid.prove,
    stop: paid.stop,
  };
}

function seatChallenge({ challenge, stop }: PaidGateway): Seat {
  return { run: challenge, stop };
}

async function seatDurableObject({ generator, pin, durableObjectNode }: StandOptions): Promise<Seat> {
  if (durableObjectNode === undefined) throw new Error('there is no Node for miniflare');
  const { pay, prove, stop } = await startDurableObject({ node: durableObjectNode, pin, generator });
  return { run: pay, prove, stop };
}

type Peer = 'bare' | 'commit' | 'x402' | 'mppx';

async function seatPeer({ postgres, generator, pin }: StandOptions, kind: Peer): Promise<Seat> {
  const env = kind === 'commit' ? { DATABASE_URL: await postgres.createDatabase('bench_commit') } : {};
  const server = await startServer({ script: `scripts/bench/children/${kind}-hono.ts`, pin, env });
  const isFree = kind === 'bare' || kind === 'commit';
  // The free routes are sent a key too: reading a request of the same size is part of all.
  const [keys, expects] = isFree ? ([[newKeyText()], 'answers'] as const) : ([[], 'refusals'] as const);
  return {
    run: (load) => measureLoad({ server, generator, expects, request: { ...load, keys, headers: {} } }),
    stop: server.stop,
  };
}
