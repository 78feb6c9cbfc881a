import { createPublicClient, createWalletClient, erc20Abi, http } from 'viem';
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { baseSepolia } from 'viem/chains';
import type { DevInfo } from './gateway.ts';
import { mustEqual } from './must.ts';

export type Account = PrivateKeyAccount;

/** The demo's own view of the chain: what it reads here does not come from the gateway. */
export type Chain = {
  /** Who owns the test dollars. */
  funder: Account;
  /** Dollars on chain, in millicents; one is ten of the token's atomic units. */
  balanceOf(address: Account['address']): Promise<bigint>;
  /** A new wallet with this many millicents, and no ether: payers of x402 need none. */
  createWallet(amount: bigint): Promise<Account>;
};

const UNITS_PER_MILLICENT = 10n;
const TIMEOUT_MS = 15_000;

export function createChain({ evm }: DevInfo): Chain {
  const transport = http(evm.rpcUrl, { timeout: TIMEOUT_MS });
  const chain = { ...baseSepolia, id: evm.chainId };
  const reader = createPublicClient({ chain, transport, pollingInterval: 100 });
  const funder = privateKeyToAccount(evm.payerPrivateKey);
  const writer = createWalletClient({ chain, transport, account: funder });
  return {
    funder,
    async balanceOf(address) {
      const call = { address: evm.token, abi: erc20Abi, functionName: 'balanceOf', args: [address] } as const;
      return (await reader.readContract(call)) / UNITS_PER_MILLICENT;
    },
    async createWallet(amount) {
      const account = privateKeyToAccount(generatePrivateKey());
      const hash = await writer.writeContract({
        ...{ address: evm.token, abi: erc20Abi, functionName: 'transfer' },
        args: [account.address, amount * UNITS_PER_MILLICENT],
      });
      const { status } = await reader.waitForTransactionReceipt({ hash, timeout: TIMEOUT_MS });
      mustEqual(status, 'success', 'The transfer to a new wallet');
      return account;
    },
  };
}
