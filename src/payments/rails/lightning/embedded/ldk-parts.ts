import { randomBytes } from 'node:crypto';
import {
  BestBlock,
  BroadcasterInterface,
  ChainMonitor,
  ChainParameters,
  ChannelConfig,
  ChannelHandshakeConfig,
  ChannelHandshakeLimits,
  ChannelManager,
  type ChannelMonitor,
  ChannelMonitorUpdate,
  ChannelMonitorUpdateStatus,
  DefaultMessageRouter,
  DefaultRouter,
  FeeEstimator,
  IgnoringMessageHandler,
  KeysManager,
  Logger,
  MaxDustHTLCExposure,
  MultiThreadedLockableScore,
  Network,
  NetworkGraph,
  Option_FilterZ,
  Option_UtxoLookupZ,
  type OutPoint,
  P2PGossipSync,
  PeerManager,
  Persist,
  ProbabilisticScorer,
  ProbabilisticScoringDecayParameters,
  ProbabilisticScoringFeeParameters,
  Result_C2Tuple_ThirtyTwoBytesChannelManagerZDecodeErrorZ_OK,
  Result_C2Tuple_ThirtyTwoBytesChannelMonitorZDecodeErrorZ_OK,
  Result_ChannelMonitorUpdateDecodeErrorZ_OK,
  TwoTuple_usizeTransactionZ,
  UserConfig,
  UtilMethods,
} from 'lightningdevkit';
import { type Block, serializeBlock } from './block.ts';
import type { ChainView } from './chain.ts';
import type { Kept, MonitorWrite } from './journal.ts';
import { loadLdk, toHex, unwrap } from './ldk.ts';

/** A node of LDK, as it was when its state was last kept, or new. */
export type LdkParts = {
  manager: ChannelManager;
  chainMonitor: ChainMonitor;
  peerManager: PeerManager;
  /** Steps of the monitors that LDK waits for us to keep, oldest first. */
  takeSteps(): MonitorStep[];
  connectBlock(block: Block): void;
  /** The height it has been brought to. */
  height: number;
  /** LDK's objects refer to each other, but its WASM does not tell the garbage collector. */
  keepAlive: unknown[];
};

export type MonitorStep = {
  write: MonitorWrite;
  /** The channel's first: the manager cannot be read without it. */
  isFirst: boolean;
  /** What LDK waits for; a mere block needs no confirmation. */
  confirm: { outpoint: OutPoint; updateId: bigint } | undefined;
};

export type LdkPartsDeps = {
  chain: ChainView;
  seed: Uint8Array;
  kept: Kept;
  nowSeconds: () => number;
};

const FEERATE_SAT_PER_KW = 253;
/** Tiny payments are dust; with LDK's default about 112 of them fill a channel. */
const DUST_EXPOSURE_MAX_MSAT = 5_000_000_000n;
/** A coin of the chain. */
const CHANNEL_MAX_SATS = 5_000_000_000n;
/**
 * So many steps of a monitor, then the whole: a start applies few. The whole is taken inside of LDK's callback,
 * the only time that its monitor may be looked at.
 */
const WHOLE_EVERY = 200;
/** What BOLT 2 allows per direction. */
const HTLCS_MAX = 483;

type Services = ReturnType<typeof createServices>;

/** Restores or makes the node and brings it up to the chain's tip. */
export async function createLdkParts(deps: LdkPartsDeps): Promise<LdkParts> {
  await loadLdk();
  const services = createServices(deps);
  const { manager, height, monitors } = await restoreOrMake(deps, services);
  const { chainMonitor, keys, entropy, logger, graph } = services;
  const ignoring = IgnoringMessageHandler.constructor_new();
  const gossip = P2PGossipSync.constructor_new(graph, Option_UtxoLookupZ.constructor_none(), logger);
  const peerManager = PeerManager.constructor_new(
    manager.as_ChannelMessageHandler(),
    gossip.as_RoutingMessageHandler(),
    ignoring.as_OnionMessageHandler(),
    ignoring.as_CustomMessageHandler(),
    deps.nowSeconds(),
    entropy.get_secure_random_bytes(),
    logger,
    keys.as_NodeSigner(),
  );
  return {
    manager,
    chainMonitor,
    peerManager,
    height,
    takeSteps: services.takeSteps,
    connectBlock: (block) => {
      const bytes = serializeBlock(block);
      chainMonitor.as_Listen().block_connected(bytes, block.height);
      manager.as_Listen().block_connected(bytes, block.height);
    },
    keepAlive: [services, monitors, ignoring, gossip],
  };
}

function createServices(deps: LdkPartsDeps) {
  const logger = Logger.new_impl({ log: () => {} });
  const fees = FeeEstimator.new_impl({ get_est_sat_per_1000_weight: () => FEERATE_SAT_PER_KW });
  const broadcaster = BroadcasterInterface.new_impl({
    broadcast_transactions: (transactions) => {
      for (const transaction of transactions) deps.chain.broadcast(new Uint8Array(transaction));
    },
  });
  const persistence = createPersistence();
  const chainMonitor = ChainMonitor.constructor_new(
    Option_FilterZ.constructor_none(),
    broadcaster,
    logger,
    fees,
    persistence.persist,
  );
  const keys = KeysManager.constructor_new(
    deps.seed,
    BigInt(deps.nowSeconds()),
    randomBytes(4).readUInt32LE() >>> 2,
  );
  const entropy = keys.as_EntropySource();
  const graph = NetworkGraph.constructor_new(Network.LDKNetwork_Regtest, logger);
  const scorer = ProbabilisticScorer.constructor_new(
    ProbabilisticScoringDecayParameters.constructor_default(),
    graph,
    logger,
  );
  const score = MultiThreadedLockableScore.constructor_new(scorer.as_Score());
  const router = DefaultRouter.constructor_new(
    graph,
    logger,
    entropy,
    score.as_LockableScore(),
    ProbabilisticScoringFeeParameters.constructor_default(),
  );
  const messageRouter = DefaultMessageRouter.constructor_new(graph, entropy);
  const config = createUserConfig();
  const { startKeeping, takeSteps } = persistence;
  return {
    ...{ logger, fees, broadcaster, chainMonitor, keys, entropy, graph, scorer, score, router },
    ...{ messageRouter, config, startKeeping, takeSteps },
  };
}

/**
 * LDK is told that every step is still being kept, and holds back all messages that depend on it until the
 * node has written the manager and the steps together.
 */
function createPersistence() {
  let failure: { cause: unknown } | undefined;
  const updates = new Map<string, number>();
  let steps: MonitorStep[] = [];
  let isKeeping = false;
  const step = (outpoint: OutPoint, monitor: ChannelMonitor, reason: ChannelMonitorUpdate | 'new' | null) => {
    const { LDKChannelMonitorUpdateStatus_Completed, LDKChannelMonitorUpdateStatus_InProgress } =
      ChannelMonitorUpdateStatus;
    // While restoring, the monitor is the one that was read from the journal.
    if (!isKeeping) return LDKChannelMonitorUpdateStatus_Completed;
    try {
      const channel = toHex(outpoint.write());
      const updateId = monitor.get_latest_update_id();
      // For a new block LDK hands over no update, which arrives here as one with the id 0.
      const isUpdate = reason !== 'new' && reason?.get_update_id() === updateId && updateId > 0n;
      const count = (updates.get(channel) ?? WHOLE_EVERY) + 1;
      const write: MonitorWrite =
        isUpdate && count < WHOLE_EVERY
          ? { channel, kind: 'update', bytes: reason.write() }
          : { channel, kind: 'whole', bytes: monitor.write() };
      updates.set(channel, write.kind === 'whole' ? 0 : count);
      if (reason !== 'new' && !isUpdate) {
        steps.push({ write, isFirst: false, confirm: undefined });
        return LDKChannelMonitorUpdateStatus_Completed;
      }
      steps.push({ write, isFirst: reason === 'new', confirm: { outpoint: outpoint.clone(), updateId } });
    } catch (cause) {
      // LDK's callbacks must not throw; nothing is kept any more, and so nothing goes on.
      failure ??= { cause };
    }
    return LDKChannelMonitorUpdateStatus_InProgress;
  };
  return {
    persist: Persist.new_impl({
      persist_new_channel: (outpoint, monitor) => step(outpoint, monitor, 'new'),
      update_persisted_channel: (outpoint, update, monitor) => step(outpoint, monitor, update),
      archive_persisted_channel: () => {},
    }),
    startKeeping: () => {
      isKeeping = true;
    },
    takeSteps: () => {
      if (failure !== undefined) throw failure.cause;
      const taken = steps;
      steps = [];
      return taken;
    },
  };
}

function createUserConfig(): UserConfig {
  const handshake = ChannelHandshakeConfig.constructor_default();
  handshake.set_minimum_depth(1);
  handshake.set_max_inbound_htlc_value_in_flight_percent_of_channel(100);
  handshake.set_our_max_accepted_htlcs(HTLCS_MAX);
  handshake.set_our_htlc_minimum_msat(1n);
  const channel = ChannelConfig.constructor_default();
  channel.set_max_dust_htlc_exposure(
    MaxDustHTLCExposure.constructor_fixed_limit_msat(DUST_EXPOSURE_MAX_MSAT),
  );
  const config = UserConfig.constructor_default();
  config.set_channel_handshake_config(handshake);
  const limits = ChannelHandshakeLimits.constructor_default();
  limits.set_max_funding_satoshis(CHANNEL_MAX_SATS);
  config.set_channel_config(channel);
  config.set_channel_handshake_limits(limits);
  return config;
}

async function restoreOrMake(deps: LdkPartsDeps, services: Services) {
  const { kept, chain } = deps;
  if (kept.manager === undefined) {
    const tip = await chain.readTip();
    const best = BestBlock.constructor_new(tip.hash, tip.height);
    services.startKeeping();
    return { manager: makeManager(deps, services, best), height: tip.height, monitors: [] };
  }
  const monitors = [...kept.monitors.values()].map((parts) => readMonitor(parts, services));
  const manager = readManager(kept.manager, services, monitors);
  const height = await catchUp(chain, services, manager, monitors);
  for (const monitor of monitors) {
    const outpoint = monitor.get_funding_txo().get_a();
    unwrapStatus(services.chainMonitor.as_Watch().watch_channel(outpoint, monitor));
  }
  services.startKeeping();
  return { manager, height, monitors };
}

function makeManager(deps: LdkPartsDeps, services: Services, best: BestBlock): ChannelManager {
  const { fees, chainMonitor, broadcaster, router, messageRouter, logger, entropy, keys, config } = services;
  return ChannelManager.constructor_new(
    fees,
    chainMonitor.as_Watch(),
    broadcaster,
    router.as_Router(),
    messageRouter.as_MessageRouter(),
    logger,
    entropy,
    keys.as_NodeSigner(),
    keys.as_SignerProvider(),
    config,
    ChainParameters.constructor_new(Network.LDKNetwork_Regtest, best),
    deps.nowSeconds(),
  );
}

function readMonitor(parts: { whole: Uint8Array; updates: Uint8Array[] }, services: Services) {
  const { entropy, keys, broadcaster, fees, logger } = services;
  const result = UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelMonitorZ_read(
    parts.whole,
    entropy,
    keys.as_SignerProvider(),
  );
  const monitor = unwrap(
    result,
    Result_C2Tuple_ThirtyTwoBytesChannelMonitorZDecodeErrorZ_OK,
    'a kept channel monitor',
  ).get_b();
  for (const bytes of parts.updates) {
    const update = unwrap(
      ChannelMonitorUpdate.constructor_read(bytes),
      Result_ChannelMonitorUpdateDecodeErrorZ_OK,
      'a kept step of a channel monitor',
    );
    if (!monitor.update_monitor(update, broadcaster, fees, logger).is_ok()) {
      throw new Error('a kept step does not fit its channel monitor');
    }
  }
  return monitor;
}

function readManager(bytes: Uint8Array, services: Services, monitors: ChannelMonitor[]): ChannelManager {
  const { fees, chainMonitor, broadcaster, router, messageRouter, logger, entropy, keys, config } = services;
  const result = UtilMethods.constructor_C2Tuple_ThirtyTwoBytesChannelManagerZ_read(
    bytes,
    entropy,
    keys.as_NodeSigner(),
    keys.as_SignerProvider(),
    fees,
    chainMonitor.as_Watch(),
    broadcaster,
    router.as_Router(),
    messageRouter.as_MessageRouter(),
    logger,
    config,
    monitors,
  );
  return unwrap(
    result,
    Result_C2Tuple_ThirtyTwoBytesChannelManagerZDecodeErrorZ_OK,
    'the kept channel manager',
  ).get_b();
}

/** Manager and monitors were each kept at a height of their own; returns the height all have reached. */
async function catchUp(
  chain: ChainView,
  services: Services,
  manager: ChannelManager,
  monitors: ChannelMonitor[],
): Promise<number> {
  const { broadcaster, fees, logger } = services;
  const managerHeight = manager.current_best_block().get_height();
  const heights = monitors.map((monitor) => monitor.current_best_block().get_height());
  const blocks = await chain.readBlocks(Math.min(managerHeight, ...heights) - 1);
  const ours = blocks.find(({ height }) => height === managerHeight);
  if (managerHeight > 0 && (!ours || !sameBytes(ours.hash, manager.current_best_block().get_block_hash()))) {
    throw new Error('the node was kept on another chain than this one: remove its folder');
  }
  for (const block of blocks) {
    const pairs = block.transactions.map((bytes, at) => ({ bytes: new Uint8Array(bytes), at }));
    for (const [index, monitor] of monitors.entries()) {
      if (block.height <= (heights[index] ?? 0)) continue;
      const transactions = pairs.map(({ bytes, at }) =>
        TwoTuple_usizeTransactionZ.constructor_new(at, bytes),
      );
      const header = new Uint8Array(block.header);
      monitor.block_connected(header, transactions, block.height, broadcaster, fees, logger);
    }
    if (block.height > managerHeight)
      manager.as_Listen().block_connected(serializeBlock(block), block.height);
  }
  return blocks.at(-1)?.height ?? managerHeight;
}

function sameBytes(left: Uint8Array, right: Uint8Array): boolean {
  return Buffer.compare(left, right) === 0;
}

function unwrapStatus(result: { is_ok(): boolean }): void {
  if (!result.is_ok()) throw new Error('a kept channel monitor cannot be watched');
}
