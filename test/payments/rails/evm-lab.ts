import { randomBytes } from 'node:crypto';
import { createWalletClient, encodeFunctionData, type Hex, http, multicall3Abi, parseAbi } from 'viem';
import { generatePrivateKey, privateKeyToAccount, privateKeyToAddress } from 'viem/accounts';
import { readContract, waitForTransactionReceipt } from 'viem/actions';
import { baseSepolia } from 'viem/chains';
import { type ChainClient, createChainClient } from '../../../src/chain/index.ts';
import { type Clock, systemClock } from '../../../src/core/clock.ts';
import { silentLog } from '../../../src/core/log.ts';
import { millicents } from '../../../src/core/money.ts';
import { type Eip3009Form, expectForm, formSchema } from '../../../src/payments/form.ts';
import type { Offer, Rail } from '../../../src/payments/rail.ts';
import {
  createEvmPart,
  createEvmRail,
  createWalletMover,
  type EvmPart,
  type LogSearch,
  type Mover,
  type Token,
} from '../../../src/payments/rails/evm/index.ts';
import { type ChainLab, startChainLab } from '../../chain/lab.ts';
import type { Anvil } from '../../harness/chain.ts';
import { expectOffer, type Fault } from './conformance.ts';

export type EvmRailOptions = {
  receiptMs?: number;
  search?: LogSearch;
  clock?: Clock;
  walletKey?: Hex;
  amountMin?: bigint;
  rpcUrl?: string;
  finalityBlocks?: number;
  token?: Partial<Token>;
  mover?: (client: ChainClient) => Mover;
};

export type SignedTerms = {
  key?: Hex;
  from?: Hex;
  to?: Hex;
  value?: bigint;
  validAfter?: bigint;
  validBefore?: bigint;
  nonce?: Hex;
};

/** The evm rail with a chain, a database, payers, and somebody who is not the gateway. */
export type EvmLab = {
  chain: ChainLab;
  rail(options?: EvmRailOptions): Rail;
  /** What that rail has one of. */
  part(options?: EvmRailOptions): EvmPart;
  /** An authorization as a payer's wallet signs it, with terms of its own where given. */
  sign(offer: Offer, terms?: SignedTerms): Promise<Eip3009Form>;
  pay(offer: Offer, fault?: Fault): Promise<Eip3009Form>;
  /** A new payer with a key and this many token units. */
  createPayer(units: bigint): Promise<Hex>;
  /** The payer spends everything elsewhere. */
  drain(payerKey: Hex): Promise<void>;
  /** Somebody else brings these authorizations to the token, in one transaction. */
  broadcast(forms: Eip3009Form[]): Promise<Hex>;
  cancel(form: Eip3009Form, payerKey: Hex): Promise<void>;
  balanceOf(address: Hex): Promise<bigint>;
  received(): Promise<bigint>;
  close(): Promise<void>;
};

const outsiderAbi = parseAbi([
  'function transfer(address to, uint256 value) returns (bool)',
  'function balanceOf(address account) view returns (uint256)',
  'function cancelAuthorization(address authorizer, bytes32 nonce, bytes signature)',
  'function transferWithAuthorization(address from, address to, uint256 value, uint256 validAfter, uint256 validBefore, bytes32 nonce, bytes signature)',
]);
const MULTICALL3 = '0xcA11bde05977b3631167028862bE2a173976CA11';

const transferTypes = {
  TransferWithAuthorization: [
    { name: 'from', type: 'address' },
    { name: 'to', type: 'address' },
    { name: 'value', type: 'uint256' },
    { name: 'validAfter', type: 'uint256' },
    { name: 'validBefore', type: 'uint256' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const;

const cancelTypes = {
  CancelAuthorization: [
    { name: 'authorizer', type: 'address' },
    { name: 'nonce', type: 'bytes32' },
  ],
} as const;

export async function startEvmLab(): Promise<EvmLab> {
  const chain = await startChainLab();
  const { anvil } = chain;
  const outsiderKey = generatePrivateKey();
  await giveEther(anvil, outsiderKey);
  const balanceOf = (address: Hex) =>
    readContract(walletOf(outsiderKey, anvil), {
      address: anvil.token,
      abi: outsiderAbi,
      functionName: 'balanceOf',
      args: [address],
    });
  const sign: EvmLab['sign'] = (offer, terms = {}) =>
    signAuthorization(offer, { ...terms, key: terms.key ?? anvil.payerPrivateKey });
  return {
    chain,
    sign,
    balanceOf,
    received: () => balanceOf(anvil.payTo),
    rail: (options = {}) => railOf(chain, options),
    part: (options = {}) => partOf(chain, options),
    pay: (offer, fault) => payWithFault(sign, offer, fault),
    createPayer: async (units) => {
      const key = generatePrivateKey();
      await giveEther(anvil, key);
      await anvil.mint(privateKeyToAddress(key), units);
      return key;
    },
    drain: async (payerKey) => {
      const args = [
        privateKeyToAddress(outsiderKey),
        await balanceOf(privateKeyToAddress(payerKey)),
      ] as const;
      const data = encodeFunctionData({ abi: outsiderAbi, functionName: 'transfer', args });
      await sendAs(payerKey, anvil, { to: anvil.token, data });
    },
    broadcast: (forms) => sendAs(outsiderKey, anvil, { to: MULTICALL3, data: encodeBatch(forms) }),
    cancel: async (form, payerKey) => {
      await sendAs(outsiderKey, anvil, { to: anvil.token, data: await encodeCancel(form, payerKey, anvil) });
    },
    close: chain.close,
  };
}

function walletOf(key: Hex, anvil: Anvil) {
  const account = privateKeyToAccount(key);
  return createWalletClient({ account, chain: baseSepolia, transport: http(anvil.rpcUrl), cacheTime: 0 });
}

async function giveEther(anvil: Anvil, key: Hex): Promise<void> {
  await anvil.rpc('anvil_setBalance', [privateKeyToAddress(key), '0x56bc75e2d63100000']);
}

/** Sends a transaction past the gateway's node, waits for it and insists that it worked. */
async function sendAs(key: Hex, anvil: Anvil, transaction: { to: Hex; data: Hex }): Promise<Hex> {
  const wallet = walletOf(key, anvil);
  const hash = await wallet.sendTransaction(transaction);
  const receipt = await waitForTransactionReceipt(wallet, { hash, pollingInterval: 20 });
  if (receipt.status !== 'success') throw new Error(`the outsider's transaction ${hash} reverted`);
  return hash;
}

function encodeBatch(forms: Eip3009Form[]): Hex {
  const calls = forms.map((form) => ({
    target: form.asset,
    allowFailure: false,
    callData: encodeFunctionData({
      abi: outsiderAbi,
      functionName: 'transferWithAuthorization',
      args: [form.from, form.to, form.value, form.validAfter, form.validBefore, form.nonce, form.signature],
    }),
  }));
  return encodeFunctionData({ abi: multicall3Abi, functionName: 'aggregate3', args: [calls] });
}

async function encodeCancel(form: Eip3009Form, payerKey: Hex, anvil: Anvil): Promise<Hex> {
  const signature = await privateKeyToAccount(payerKey).signTypedData({
    domain: {
      name: anvil.tokenName,
      version: anvil.tokenVersion,
      chainId: anvil.chainId,
      verifyingContract: anvil.token,
    },
    types: cancelTypes,
    primaryType: 'CancelAuthorization',
    message: { authorizer: form.from, nonce: form.nonce },
  });
  return encodeFunctionData({
    abi: outsiderAbi,
    functionName: 'cancelAuthorization',
    args: [form.from, form.nonce, signature],
  });
}

function railOf(chain: ChainLab, options: EvmRailOptions): Rail {
  return createEvmRail({ parts: [partOf(chain, options)], log: silentLog });
}

function partOf(chain: ChainLab, options: EvmRailOptions): EvmPart {
  const { anvil, proxy } = chain;
  const client = createChainClient({
    chainId: anvil.chainId,
    rpcUrl: options.rpcUrl ?? proxy.url,
    finalityBlocks: options.finalityBlocks,
    timeouts: { callMs: 5_000 },
  });
  const writer = chain.writer({
    ...(options.receiptMs === undefined ? {} : { receiptMs: options.receiptMs }),
    ...(options.walletKey === undefined ? {} : { key: options.walletKey }),
  });
  return createEvmPart({
    client,
    token: {
      ...{ address: anvil.token, name: anvil.tokenName, version: anvil.tokenVersion },
      ...options.token,
    },
    payTo: anvil.payTo,
    amountMin: millicents(options.amountMin ?? 100n),
    mover: options.mover?.(client) ?? createWalletMover({ client, writer, settlementsMin: 10 }),
    confirmations: 1,
    search: options.search ?? { pageBlocks: 100, lookbackBlocks: 1_000 },
    clock: options.clock ?? systemClock,
    log: silentLog,
    timeouts: { lookMs: 10_000, settleMs: 25_000 },
  });
}

async function signAuthorization(given: Offer, terms: SignedTerms & { key: Hex }): Promise<Eip3009Form> {
  const offer = expectOffer(given, 'eip3009');
  const account = privateKeyToAccount(terms.key);
  const message = {
    from: terms.from ?? account.address,
    to: terms.to ?? offer.payTo,
    value: terms.value ?? offer.units,
    validAfter: terms.validAfter ?? 0n,
    validBefore: terms.validBefore ?? BigInt(Math.floor(Date.now() / 1000) + offer.timeoutSeconds),
    nonce: terms.nonce ?? (`0x${randomBytes(32).toString('hex')}` as const),
  };
  const signature = await account.signTypedData({
    domain: {
      name: offer.tokenName,
      version: offer.tokenVersion,
      chainId: Number(offer.network.split(':')[1]),
      verifyingContract: offer.asset,
    },
    types: transferTypes,
    primaryType: 'TransferWithAuthorization',
    message,
  });
  const fields = { kind: 'eip3009', network: offer.network, asset: offer.asset, signature, ...message };
  return expectForm(formSchema.parse(fields), 'eip3009');
}

async function payWithFault(
  sign: (offer: Offer, terms?: SignedTerms) => Promise<Eip3009Form>,
  given: Offer,
  fault: Fault | undefined,
): Promise<Eip3009Form> {
  const offer = expectOffer(given, 'eip3009');
  switch (fault) {
    case undefined:
      return sign(offer);
    case 'pays-less':
      return sign(offer, { value: offer.units - 1n });
    case 'pays-more':
      return sign(offer, { value: offer.units + 1n });
    case 'pays-another':
      return sign(offer, { to: privateKeyToAddress(generatePrivateKey()) });
    case 'expires-too-soon':
      return sign(offer, { validBefore: BigInt(Math.floor(Date.now() / 1000) + 60) });
    case 'forged':
      // Somebody else's signature over the payer's terms.
      return sign(offer, { key: generatePrivateKey(), from: (await sign(offer)).from });
    default:
      return fault satisfies never;
  }
}
