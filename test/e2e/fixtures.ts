import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { x402Client } from '@x402/core/client';
import { decodePaymentRequiredHeader, x402HTTPClient } from '@x402/core/http';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { wrapFetchWithPayment } from '@x402/fetch';
import { createPublicClient, createWalletClient, defineChain, http, parseAbi, parseEther } from 'viem';
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import type { Anvil } from '../harness/chain.ts';
import type { GatewayClient } from '../harness/gateway.ts';

const SERVER = readFileSync(join(import.meta.dirname, 'servers/echo.py'), 'utf8');
const ERC20 = parseAbi(['function balanceOf(address) view returns (uint256)']);

/** An agent with a wallet of its own, paying through the unmodified stock client. */
export type Agent = {
  account: PrivateKeyAccount;
  /** `@x402/fetch`. */
  fetch: typeof fetch;
  /** Token units it owns on-chain. */
  owns(): Promise<bigint>;
  /** The headers that pay the challenge of this 402, signed anew each time. */
  sign(response: Response): Promise<Record<string, string>>;
};

export async function createAgent(anvil: Anvil, dollars = 10): Promise<Agent> {
  const account = privateKeyToAccount(generatePrivateKey());
  await anvil.mint(account.address, BigInt(dollars * 1_000_000));
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(account));
  const httpClient = new x402HTTPClient(client);
  return {
    account,
    fetch: wrapFetchWithPayment(fetch, client),
    owns: () => tokenBalance(anvil, account.address),
    async sign(response) {
      const header = response.headers.get('payment-required');
      if (!header) throw new Error(`no challenge in ${response.status} ${await response.text()}`);
      const payload = await client.createPaymentPayload(decodePaymentRequiredHeader(header));
      return httpClient.encodePaymentSignatureHeader(payload);
    },
  };
}

export async function tokenBalance(
  anvil: Pick<Anvil, 'rpcUrl' | 'token'>,
  address: `0x${string}`,
): Promise<bigint> {
  const client = createPublicClient({ transport: http(anvil.rpcUrl) });
  return client.readContract({
    address: anvil.token,
    abi: ERC20,
    functionName: 'balanceOf',
    args: [address],
  });
}

/** Sends everything the agent owns to somebody else, as a payer who wants to get away would. */
export async function drain(anvil: Anvil, agent: Agent): Promise<void> {
  await anvil.rpc('anvil_setBalance', [agent.account.address, `0x${parseEther('1').toString(16)}`]);
  const chain = defineChain({
    ...{ id: anvil.chainId, name: 'anvil', nativeCurrency: { name: 'Ether', symbol: 'ETH', decimals: 18 } },
    rpcUrls: { default: { http: [anvil.rpcUrl] } },
  });
  const wallet = createWalletClient({ account: agent.account, chain, transport: http(anvil.rpcUrl) });
  const abi = parseAbi(['function transfer(address to, uint256 value) returns (bool)']);
  const args = ['0x000000000000000000000000000000000000dEaD', await agent.owns()] as const;
  const hash = await wallet.writeContract({ address: anvil.token, abi, functionName: 'transfer', args });
  await createPublicClient({ transport: http(anvil.rpcUrl) }).waitForTransactionReceipt({ hash });
}

export const jsonBody = (body: unknown, headers: Record<string, string> = {}): RequestInit => ({
  method: 'POST',
  headers: { 'content-type': 'application/json', ...headers },
  body: JSON.stringify(body),
});

/** What publishing the test server takes; `change` overrides members. */
export function submission(name: string, change: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    ...{
      name,
      version: '1.0.0',
      description: 'A server for the tests',
      category: ['testing'],
      language: 'python',
    },
    ...{ tier: 'hobbyist', entrypoint: 'server.py', license: 'MIT' },
    pricing: { model: 'per_call', amount_mcents: 250, tools: { gratis: 0, random: 50 } },
    files: { 'server.py': SERVER },
    ...change,
  };
}

/** The members of our answers that tests look at; what is absent reads as undefined. */
export type Answer = {
  ok: boolean;
  type: string;
  detail: string;
  note: string;
  result: { structuredContent?: unknown; content: unknown[] };
  charged_mcents: number;
  balance_mcents: number;
  receipt: string;
  receipt_id: string;
  refund_key: string;
  key: string;
  id: string;
  code_hash: string;
};

/** The JSON of an answer; the type says what the tests expect of it, and they check it. */
export async function readAnswer(response: Response): Promise<Answer> {
  return (await response.json()) as Answer;
}

let published = 0;

/** A publisher with the test server listed; `call` is the path of its calls. */
export async function publishEcho(gateway: GatewayClient, change: Record<string, unknown> = {}) {
  published += 1;
  const key = await gateway.mint(0, ['publish', 'read']);
  const name = `tests${published}-${process.pid}/echo`;
  const response = await gateway.fetch(
    '/mcp',
    jsonBody(submission(name, change), { authorization: `Bearer ${key}` }),
  );
  const body = await readAnswer(response);
  if (response.status !== 201) throw new Error(`publishing failed: ${JSON.stringify(body)}`);
  return { key, name, id: body.id, call: `/invoke/${encodeURIComponent(name)}`, body };
}

export type Books = {
  balanced: boolean;
  discrepancies: unknown[];
  accounts: { name: string; unit: string; balance: string }[];
};

export async function readBooks(gateway: GatewayClient): Promise<Books> {
  const response = await gateway.fetch('/v1/admin/ledger/check', {
    headers: { 'x-admin-key': gateway.adminKey },
  });
  return (await response.json()) as Books;
}
