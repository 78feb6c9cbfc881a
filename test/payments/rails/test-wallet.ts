import { readFile } from 'node:fs/promises';
import { createWalletClient, type Hex, http, parseAbi } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { waitForTransactionReceipt } from 'viem/actions';
import { baseSepolia } from 'viem/chains';
import { z } from 'zod';
import { artifactPath } from '../../../scripts/contracts.ts';
import type { Anvil } from '../../harness/chain.ts';

const walletAbi = parseAbi([
  'constructor(address owner)',
  'function freeze()',
  'function burnGas(uint256 gasToBurn)',
]);
const artifactSchema = z.object({
  bytecode: z.custom<Hex>((value) => typeof value === 'string' && value.startsWith('0x')),
});

/** Deploys a contract wallet (ERC-1271) that its owner's key signs for. */
export async function deployTestWallet(anvil: Anvil, owner: Hex): Promise<Hex> {
  const { bytecode } = artifactSchema.parse(JSON.parse(await readFile(artifactPath('TestWallet'), 'utf8')));
  const client = clientOf(anvil, owner);
  const hash = await client.deployContract({ abi: walletAbi, bytecode, args: [client.account.address] });
  const receipt = await waitForTransactionReceipt(client, { hash, pollingInterval: 20 });
  if (!receipt.contractAddress) throw new Error('the wallet was not deployed');
  return receipt.contractAddress;
}

/** From now on the wallet accepts no signature. */
export async function freezeTestWallet(anvil: Anvil, input: { owner: Hex; wallet: Hex }): Promise<void> {
  const client = clientOf(anvil, input.owner);
  const hash = await client.writeContract({ address: input.wallet, abi: walletAbi, functionName: 'freeze' });
  await waitForTransactionReceipt(client, { hash, pollingInterval: 20 });
}

/** From now on the wallet burns this much gas whenever it checks a signature. */
export async function burnGasOfTestWallet(
  anvil: Anvil,
  input: { owner: Hex; wallet: Hex; gas: bigint },
): Promise<void> {
  const client = clientOf(anvil, input.owner);
  const call = { address: input.wallet, abi: walletAbi, functionName: 'burnGas', args: [input.gas] } as const;
  const hash = await client.writeContract(call);
  await waitForTransactionReceipt(client, { hash, pollingInterval: 20 });
}

function clientOf(anvil: Anvil, key: Hex) {
  const account = privateKeyToAccount(key);
  return createWalletClient({ account, chain: baseSepolia, transport: http(anvil.rpcUrl), cacheTime: 0 });
}
