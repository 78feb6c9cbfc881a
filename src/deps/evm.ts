import { privateKeyToAccount } from 'viem/accounts';
import { type ChainClient, createChainClient, createWriter, type Writer } from '../chain/index.ts';
import type { EvmConfig, EvmNetwork } from '../config/evm.ts';
import {
  createEvmPart,
  createEvmRail,
  createFacilitator,
  createFacilitatorMover,
  createWalletMover,
  type PartHealth,
} from '../payments/rails/evm/index.ts';
import type { RailParts, WiredRail } from './wired-rail.ts';

const RESUME_EVERY_MS = 15_000;
const EVM_TIMEOUTS = { lookMs: 10_000, settleMs: 24_000 };
const EVM_SEARCH = { pageBlocks: 2_000, lookbackBlocks: 20_000 };
const WRITER_TIMEOUTS = { receiptMs: 20_000, pollMs: 20, replaceMs: 30_000 };
/** A wallet with gas for less is reported low: about an hour of a busy gateway. */
const SETTLEMENTS_MIN = 200;

/** The evm rail over every network and token that is configured. */
export function wireEvm(config: EvmConfig, deps: RailParts): WiredRail {
  /** One writer for each wallet, whatever number of tokens it moves. */
  const writers = new Map<string, Writer>();
  const writerOf = (client: ChainClient, network: EvmNetwork, mover: WalletConfig): Writer => {
    const account = privateKeyToAccount(mover.walletKey);
    const name = `${network.chainId}:${account.address}`;
    const { confirmations } = network;
    const { feeMaxWei } = mover;
    const writer =
      writers.get(name) ??
      createWriter({ ...deps, client, account, confirmations, feeMaxWei, timeouts: WRITER_TIMEOUTS });
    writers.set(name, writer);
    return writer;
  };
  const parts = config.networks.map((network) => {
    const { chainId, rpcUrl, finalityBlocks, confirmations, payTo, amountMin, mover } = network;
    const client = createChainClient({ chainId, rpcUrl, finalityBlocks, timeouts: { callMs: 10_000 } });
    return createEvmPart({
      ...deps,
      ...{ client, payTo, amountMin, confirmations, search: EVM_SEARCH, timeouts: EVM_TIMEOUTS },
      token: { address: network.token, name: network.tokenName, version: network.tokenVersion },
      mover:
        mover.kind === 'wallet'
          ? createWalletMover({
              ...{ client, writer: writerOf(client, network, mover), settlementsMin: SETTLEMENTS_MIN },
            })
          : createFacilitatorMover({
              ...{ client, confirmations, search: EVM_SEARCH, log: deps.log },
              facilitator: createFacilitator({ ...mover, timeouts: { callMs: 20_000 } }),
              timeouts: { receiptMs: 20_000, pollMs: 200 },
            }),
    });
  });
  const resume = async (signal: AbortSignal): Promise<void> => {
    // A node that is down holds up nobody else's.
    const resumed = await Promise.allSettled([
      ...[...writers.values()].map((writer) => writer.resume(signal)),
      ...parts.map((part) => part.checkHealth(signal)),
    ]);
    for (const { reason } of resumed.filter((each) => each.status === 'rejected')) {
      deps.log.warn({ cause: reason }, 'a wallet could not be resumed');
    }
  };
  return {
    rail: createEvmRail({ parts, log: deps.log }),
    jobs: [{ name: 'resume-evm', everyMs: RESUME_EVERY_MS, run: resume }],
    strays: parts.map(({ network, asset, findStrayPayments }) => {
      return { name: `${network}/${asset}`, findStrayPayments };
    }),
    health: () => Object.fromEntries(parts.map((part) => describe(part.health()))),
  };
}

type WalletConfig = Extract<EvmNetwork['mover'], { kind: 'wallet' }>;

/** How a network was seen last, as `/ready` tells it. */
function describe({ network, asset, isUp, detail }: PartHealth): [name: string, state: string] {
  return [`evm ${network} ${asset}`, isUp && detail === '' ? 'ok' : `${isUp ? 'up' : 'down'}: ${detail}`];
}
