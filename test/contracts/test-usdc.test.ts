import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { getDefaultAsset } from '@x402/evm';
import {
  type Abi,
  createWalletClient,
  domainSeparator,
  type Hex,
  http,
  multicall3Abi,
  parseAbi,
  parseSignature,
  publicActions,
  toHex,
} from 'viem';
import { type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { artifactPath } from '../../scripts/contracts.ts';
import { silentLog } from '../../src/core/log.ts';
import { type Anvil, startAnvil } from '../harness/chain.ts';

const TOKEN_ABI = parseAbi([
  'function name() view returns (string)',
  'function version() view returns (string)',
  'function decimals() view returns (uint8)',
  'function DOMAIN_SEPARATOR() view returns (bytes32)',
  'function balanceOf(address) view returns (uint256)',
  'function allowance(address, address) view returns (uint256)',
  'function nonces(address) view returns (uint256)',
  'function authorizationState(address, bytes32) view returns (bool)',
  'function transferFrom(address, address, uint256) returns (bool)',
  'function permit(address, address, uint256, uint256, bytes)',
  'function transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes)',
  'function transferWithAuthorization(address, address, uint256, uint256, uint256, bytes32, uint8, bytes32, bytes32)',
  'function receiveWithAuthorization(address, address, uint256, uint256, uint256, bytes32, bytes)',
  'function cancelAuthorization(address, bytes32, bytes)',
]);
const AUTHORIZATION_FIELDS = [
  'from address',
  'to address',
  'value uint256',
  'validAfter uint256',
  'validBefore uint256',
  'nonce bytes32',
].map(toField);
const FAR = 2n ** 40n;
const PAYEE: Hex = '0x1111111111111111111111111111111111111111';

let anvil: Anvil;
let payer: PrivateKeyAccount;
let wallet: ReturnType<typeof connect>;

beforeAll(async () => {
  anvil = await startAnvil({ log: silentLog });
  payer = privateKeyToAccount(anvil.payerPrivateKey);
  wallet = connect(anvil.rpcUrl, anvil.gatewayWalletKey);
});

afterAll(() => anvil.close());

describe('the test dollar', () => {
  test('sits where stock x402 clients look for it, under the name and version they sign', async () => {
    const asset = getDefaultAsset('eip155:84532');
    const { token, tokenName, tokenVersion } = anvil;
    expect(asset).toMatchObject({ asset: token, name: tokenName, version: tokenVersion, decimals: 6 });
    expect(await read('name')).toBe(tokenName);
    expect(await read('version')).toBe(tokenVersion);
    expect(await read('decimals')).toBe(6);
    expect(await read('DOMAIN_SEPARATOR')).toBe(domainSeparator({ domain: domain() }));
    expect(await balance(payer.address)).toBe(1_000_000_000n);
  });

  test('an authorization moves the money once, in either spelling of the signature', async () => {
    const before = await balance(PAYEE);
    const first = await authorize('TransferWithAuthorization', { value: 70n });
    await write('transferWithAuthorization', [...first.args, first.signature]);
    const second = await authorize('TransferWithAuthorization', { value: 7n });
    const { r, s, v } = parseSignature(second.signature);
    await write('transferWithAuthorization', [...second.args, Number(v), r, s]);
    expect(await balance(PAYEE)).toBe(before + 77n);
    for (const used of [first, second]) {
      await expect(write('transferWithAuthorization', [...used.args, used.signature])).rejects.toThrow(
        'FiatTokenV2: authorization is used or canceled',
      );
    }
  });

  test('an authorization too late, too early, altered, overdrawn or cancelled is refused in the words of USDC', async () => {
    const send = async (change: Partial<Terms>, alter: Partial<Terms> = {}) => {
      const { args, signature } = await authorize('TransferWithAuthorization', change, alter);
      return write('transferWithAuthorization', [...args, signature]);
    };
    await expect(send({ validBefore: 1n })).rejects.toThrow('FiatTokenV2: authorization is expired');
    await expect(send({ validAfter: FAR })).rejects.toThrow('FiatTokenV2: authorization is not yet valid');
    await expect(send({}, { value: 999n })).rejects.toThrow('FiatTokenV2: invalid signature');
    await expect(send({ value: 10n ** 18n })).rejects.toThrow('ERC20: transfer amount exceeds balance');

    const terms = await authorize('TransferWithAuthorization', {});
    const nonce = terms.args[5];
    const cancel = await payer.signTypedData({
      domain: domain(),
      types: { CancelAuthorization: ['authorizer address', 'nonce bytes32'].map(toField) },
      primaryType: 'CancelAuthorization',
      message: { authorizer: payer.address, nonce },
    });
    await write('cancelAuthorization', [payer.address, nonce, cancel]);
    expect(await read('authorizationState', [payer.address, nonce])).toBe(true);
    await expect(write('transferWithAuthorization', [...terms.args, terms.signature])).rejects.toThrow(
      'FiatTokenV2: authorization is used or canceled',
    );
  });

  test('an authorization to receive is good for its payee only', async () => {
    const stolen = await authorize('ReceiveWithAuthorization', {});
    await expect(write('receiveWithAuthorization', [...stolen.args, stolen.signature])).rejects.toThrow(
      'FiatTokenV2: caller must be the payee',
    );
    const own = await authorize('ReceiveWithAuthorization', { to: wallet.account.address, value: 5n });
    await write('receiveWithAuthorization', [...own.args, own.signature]);
    expect(await balance(wallet.account.address)).toBe(5n);
  });

  test('a contract wallet pays by its own word, and no more once it takes that back', async () => {
    const contract = await deployWallet(payer.address);
    await anvil.mint(contract, 100n);
    const first = await authorize('TransferWithAuthorization', { from: contract, value: 40n });
    await write('transferWithAuthorization', [...first.args, first.signature]);
    expect(await balance(contract)).toBe(60n);

    const second = await authorize('TransferWithAuthorization', { from: contract, value: 40n });
    const owner = connect(anvil.rpcUrl, anvil.payerPrivateKey);
    const freeze = await owner.writeContract({ address: contract, abi: WALLET_ABI, functionName: 'freeze' });
    await owner.waitForTransactionReceipt({ hash: freeze });
    await expect(write('transferWithAuthorization', [...second.args, second.signature])).rejects.toThrow(
      'FiatTokenV2: invalid signature',
    );
  });

  test('a permit gives an allowance once', async () => {
    const spender = wallet.account.address;
    const nonce = await read('nonces', [payer.address]);
    const message = { owner: payer.address, spender, value: 9n, nonce, deadline: FAR };
    const fields = ['owner address', 'spender address', 'value uint256', 'nonce uint256', 'deadline uint256'];
    const types = { Permit: fields.map(toField) };
    const signature = await payer.signTypedData({ domain: domain(), types, primaryType: 'Permit', message });
    await write('permit', [payer.address, spender, 9n, FAR, signature]);
    expect(await read('allowance', [payer.address, spender])).toBe(9n);
    await write('transferFrom', [payer.address, PAYEE, 9n]);
    expect(await read('allowance', [payer.address, spender])).toBe(0n);
    await expect(write('permit', [payer.address, spender, 9n, FAR, signature])).rejects.toThrow(
      'invalid signature',
    );
  });

  test('many reads travel as one, and one that fails does not spoil the others', async () => {
    const [name, refused] = await wallet.multicall({
      multicallAddress: '0xcA11bde05977b3631167028862bE2a173976CA11',
      contracts: [
        { address: anvil.token, abi: TOKEN_ABI, functionName: 'name' },
        { address: anvil.token, abi: multicall3Abi, functionName: 'getCurrentBlockTimestamp' },
      ],
    });
    expect(name).toEqual({ status: 'success', result: 'USDC' });
    expect(refused?.status).toBe('failure');
  });
});

type Terms = { from: Hex; to: Hex; value: bigint; validAfter: bigint; validBefore: bigint; nonce: Hex };

/** For calls whose name is a variable. */
const LOOSE_ABI: Abi = TOKEN_ABI;
const WALLET_ABI = parseAbi(['constructor(address owner)', 'function freeze()']);

function connect(rpcUrl: string, key: Hex) {
  const account = privateKeyToAccount(key);
  return createWalletClient({
    account,
    chain: baseSepolia,
    transport: http(rpcUrl),
    pollingInterval: 20,
  }).extend(publicActions);
}

function domain() {
  return { name: 'USDC', version: '2', chainId: anvil.chainId, verifyingContract: anvil.token };
}

function toField(words: string): { name: string; type: string } {
  const [name = '', type = ''] = words.split(' ');
  return { name, type };
}

/** Terms and the payer's signature over them; `alter` changes the terms after they were signed. */
async function authorize(
  primaryType: 'TransferWithAuthorization' | 'ReceiveWithAuthorization',
  change: Partial<Terms>,
  alter: Partial<Terms> = {},
) {
  const defaults = { from: payer.address, to: PAYEE, value: 1n, validAfter: 0n, validBefore: FAR };
  const signed: Terms = { ...defaults, nonce: toHex(randomBytes(32)), ...change };
  const signature = await payer.signTypedData({
    domain: domain(),
    types: { [primaryType]: AUTHORIZATION_FIELDS },
    primaryType,
    message: signed,
  });
  const sent = { ...signed, ...alter };
  const args = [sent.from, sent.to, sent.value, sent.validAfter, sent.validBefore, sent.nonce] as const;
  return { args, signature };
}

function read(functionName: string, args: unknown[] = []): Promise<unknown> {
  return wallet.readContract({ address: anvil.token, abi: LOOSE_ABI, functionName, args });
}

async function balance(address: Hex): Promise<bigint> {
  return wallet.readContract({
    address: anvil.token,
    abi: TOKEN_ABI,
    functionName: 'balanceOf',
    args: [address],
  });
}

/** Sends a transaction and waits for it; rejects with the contract's reason when it would revert. */
async function write(functionName: string, args: unknown[]): Promise<void> {
  const call = { address: anvil.token, abi: LOOSE_ABI, functionName, args };
  await wallet.simulateContract(call);
  await wallet.waitForTransactionReceipt({ hash: await wallet.writeContract(call) });
}

async function deployWallet(owner: Hex): Promise<Hex> {
  const { bytecode } = JSON.parse(await readFile(artifactPath('TestWallet'), 'utf8'));
  const hash = await wallet.deployContract({ abi: WALLET_ABI, bytecode, args: [owner] });
  const { contractAddress } = await wallet.waitForTransactionReceipt({ hash });
  if (!contractAddress) throw new Error('the wallet was not deployed');
  return contractAddress;
}
