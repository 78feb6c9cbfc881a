import { randomBytes } from 'node:crypto';
import { Challenge, Credential } from 'mppx';
import { Mppx, tempo as stockTempo } from 'mppx/client';
import { createClient, encodeFunctionData, type Hex, http } from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { getTransactionReceipt, readContract } from 'viem/actions';
import { tempoModerato } from 'viem/tempo/chains';
import { z } from 'zod';
import { createChainClient } from '../../../../src/chain/index.ts';
import { type Clock, systemClock } from '../../../../src/core/clock.ts';
import { silentLog } from '../../../../src/core/log.ts';
import { millicents } from '../../../../src/core/money.ts';
import type { TempoForm } from '../../../../src/payments/form.ts';
import type { Offer, Rail, TempoOffer } from '../../../../src/payments/rail.ts';
import { createTempoRail } from '../../../../src/payments/rails/tempo/index.ts';
import { until } from '../../../chain/lab.ts';
import { type RpcProxy, startRpcProxy } from '../../../chain/rpc-proxy.ts';
import { startTempo, type Tempo } from '../../../harness/tempo.ts';
import { expectOffer, type Fault } from '../conformance.ts';
import { inSeconds, REALM, type SignedTerms, signForm, signTransaction, toForm, tokenAbi } from './sign.ts';

export type TempoRailOptions = {
  settleMs?: number;
  settleMarginMs?: number;
  clock?: Clock;
  amountMin?: bigint;
  currency?: Hex;
};

export type Mode = 'pull' | 'push';

/** The tempo rail with a chain whose node can fail, and payers: mppx's own client, and one that lies. */
export type TempoLab = {
  tempo: Tempo;
  proxy: RpcProxy;
  /** Owns a thousand dollars. */
  payerKey: Hex;
  rail(options?: TempoRailOptions): Rail;
  /** What the stock client of mppx makes of the offer. */
  pay(offer: Offer, mode: Mode, fault?: Fault): Promise<TempoForm>;
  /** A transaction of a payer with a mind of its own. */
  sign(offer: Offer, terms?: Partial<SignedTerms>): TempoForm;
  /** Somebody sends a transaction past the gateway's node, and waits for it. */
  send(raw: Hex): Promise<{ hash: Hex; isSuccess: boolean }>;
  /** The payer spends all but this much, and at most 200 units more, elsewhere. */
  drain(payerKey: Hex, leftUnits: bigint): Promise<void>;
  balanceOf(address: Hex): Promise<bigint>;
  received(): Promise<bigint>;
  /** Empty blocks, so that what came before is final. */
  mine(blocks: number): Promise<void>;
  close(): Promise<void>;
};

export async function startTempoLab(): Promise<TempoLab> {
  const tempo = await startTempo({ log: silentLog });
  const [proxy, payerKey] = await Promise.all([startRpcProxy(tempo.rpcUrl), tempo.fundPayer()]);
  const client = createClient({ chain: tempoModerato, transport: http(tempo.rpcUrl), cacheTime: 0 });
  const balanceOf = (address: Hex) =>
    readContract(client, {
      ...{ address: tempo.currency, abi: tokenAbi, functionName: 'balanceOf' },
      args: [address],
    });
  const send: TempoLab['send'] = async (raw) => {
    const hash = z
      .templateLiteral(['0x', z.string()])
      .parse(await tempo.rpc('eth_sendRawTransaction', [raw]));
    const receipt = await until(() => getTransactionReceipt(client, { hash }).catch(() => undefined));
    return { hash, isSuccess: receipt.status === 'success' };
  };
  return {
    ...{ tempo, proxy, payerKey, send, balanceOf },
    rail: (options = {}) => railOf(tempo, proxy, options),
    pay: (offer, mode, fault) => payWithStock(tempo, payerKey, { offer, mode, fault }),
    sign: (offer, terms = {}) =>
      signForm(expectOffer(offer, 'tempo'), { key: payerKey, challengeId: newChallengeId(), ...terms }),
    drain: async (key, leftUnits) => drain(tempo, { key, leftUnits, balanceOf, send }),
    received: () => balanceOf(tempo.recipient),
    mine: async (blocks) => {
      await tempo.rpc('anvil_mine', [`0x${blocks.toString(16)}`]);
    },
    close: async () => {
      await proxy.close();
      await tempo.close();
    },
  };
}

export const newChallengeId = (): string => randomBytes(32).toString('base64url');

function railOf(tempo: Tempo, proxy: RpcProxy, options: TempoRailOptions): Rail {
  return createTempoRail({
    client: createChainClient({ chainId: tempo.chainId, rpcUrl: proxy.url, timeouts: { callMs: 5_000 } }),
    currency: options.currency ?? tempo.currency,
    recipient: tempo.recipient,
    amountMin: millicents(options.amountMin ?? 100n),
    settleMarginMs: options.settleMarginMs ?? 60_000,
    clock: options.clock ?? systemClock,
    log: silentLog,
    timeouts: { lookMs: 10_000, settleMs: options.settleMs ?? 20_000, pollMs: 20 },
  });
}

type StockPayment = { offer: Offer; mode: Mode; fault: Fault | undefined };

/** The client signs what a challenge asks for, so a faulty payer is one with another challenge. */
async function payWithStock(tempo: Tempo, key: Hex, payment: StockPayment): Promise<TempoForm> {
  const offer = expectOffer(payment.offer, 'tempo');
  const { mode, fault } = payment;
  const isHasty = fault === 'expires-too-soon';
  const challenge = Challenge.from({
    ...{ id: newChallengeId(), realm: REALM, method: 'tempo', intent: 'charge' },
    expires: new Date(inSeconds(isHasty ? 4 : 300) * 1000).toISOString(),
    request: requestOf(offer, fault),
  });
  const account = privateKeyToAccount(key);
  const stock = stockTempo.charge({ account, mode, getClient: () => clientOf(tempo) });
  const response = new Response(null, {
    status: 402,
    headers: { 'WWW-Authenticate': Challenge.serialize(challenge) },
  });
  const mppx = Mppx.create({ polyfill: false, methods: [stock] });
  const credential = Credential.deserialize(await mppx.createCredential(response));
  const payload = payloadSchema.parse(credential.payload);
  const payer =
    fault === 'forged' ? privateKeyToAddress(generatePrivateKey()) : credential.source?.split(':').at(-1);
  const { id: challengeId, realm } = credential.challenge;
  return payload.type === 'hash'
    ? toForm(offer, { shows: 'hash', value: payload.hash, challengeId, realm, payer })
    : toForm(offer, { shows: 'transaction', value: payload.signature, challengeId, realm, payer });
}

const payloadSchema = z.discriminatedUnion('type', [
  z.object({ type: z.literal('hash'), hash: z.string() }),
  z.object({ type: z.literal('transaction'), signature: z.string() }),
]);

function requestOf(offer: TempoOffer, fault: Fault | undefined): Record<string, unknown> {
  const change = fault === 'pays-less' ? -1n : fault === 'pays-more' ? 1n : 0n;
  return {
    amount: String(offer.units + change),
    currency: offer.currency,
    recipient: fault === 'pays-another' ? privateKeyToAddress(generatePrivateKey()) : offer.recipient,
    methodDetails: { chainId: Number(offer.network.split(':')[1]) },
  };
}

/** A client of the payer, past the gateway's node. */
export function clientOf(tempo: Tempo) {
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [tempo.rpcUrl] as const } } };
  return createClient({ chain, transport: http(tempo.rpcUrl), pollingInterval: 20, cacheTime: 0 });
}

type Draining = Pick<TempoLab, 'balanceOf' | 'send'> & { key: Hex; leftUnits: bigint };

/** Empty blocks first, until gas costs next to nothing: the fee comes out of the same purse. */
async function drain(tempo: Tempo, { key, leftUnits, balanceOf, send }: Draining): Promise<void> {
  await tempo.rpc('anvil_mine', ['0x28']);
  const amount = (await balanceOf(privateKeyToAddress(key))) - leftUnits - FEE_ROOM;
  const data = encodeFunctionData({ abi: tokenAbi, functionName: 'transfer', args: [ELSEWHERE, amount] });
  const offer: TempoOffer = {
    ...{ kind: 'tempo', network: `eip155:${tempo.chainId}`, units: 0n },
    ...{ currency: tempo.currency, recipient: tempo.recipient },
  };
  const calls = [{ to: tempo.currency, data }];
  const { isSuccess } = await send(signTransaction(offer, { key, challengeId: '', calls, ...CHEAP }));
  if (!isSuccess) throw new Error('the payer could not spend its money');
}

const CHEAP = { gas: 120_000n, maxFeePerGas: 1_500_000_000n };
/** What that costs at most. */
const FEE_ROOM = 180n;
/** Anvil's first account: it holds the token already, so paying it takes little gas. */
const ELSEWHERE = '0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266';
