import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { type Hex, hexToBigInt, hexToNumber, type TransactionSerializableEIP1559 } from 'viem';
import { privateKeyToAccount } from 'viem/accounts';
import { z } from 'zod';

/** What it does with a request: signs it, changes it first, answers something else, or nothing. */
export type SignerFate =
  | { kind: 'sign' }
  | { kind: 'change'; change(asked: TransactionSerializableEIP1559): TransactionSerializableEIP1559 }
  | { kind: 'sign-as'; key: Hex }
  | { kind: 'answer'; body: unknown }
  | { kind: 'hold' };

export type RemoteSignerServer = {
  url: string;
  address: Hex;
  /** The fate of each request from now on. */
  decide(fate: SignerFate): void;
  /** The parameters of each request. */
  requests: Record<string, unknown>[];
  close(): Promise<void>;
};

const hex = z.custom<Hex>((value) => typeof value === 'string' && /^0x[0-9a-fA-F]*$/.test(value));
/** What Web3Signer reads of a transaction; what else there is it ignores. */
const callSchema = z.object({
  jsonrpc: z.literal('2.0'),
  id: z.unknown(),
  method: z.literal('eth_signTransaction'),
  params: z.tuple([
    z.object({
      from: hex,
      to: hex,
      data: hex,
      gas: hex,
      nonce: hex,
      value: hex,
      maxFeePerGas: hex,
      maxPriorityFeePerGas: hex,
    }),
  ]),
});

/** A signer that keeps one key for one chain and speaks as Web3Signer does, with faults on demand. */
export async function startRemoteSigner(options: { key: Hex; chainId: number }): Promise<RemoteSignerServer> {
  const account = privateKeyToAccount(options.key);
  const requests: Record<string, unknown>[] = [];
  let fate: SignerFate = { kind: 'sign' };
  const server = createServer((request, response) => {
    answer(request)
      .then((body) => body !== undefined && response.end(JSON.stringify(body)))
      .catch(() => response.destroy());
  });

  async function answer(request: IncomingMessage): Promise<unknown> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { id, params } = callSchema.parse(JSON.parse(Buffer.concat(chunks).toString()));
    const [asked] = params;
    requests.push(asked);
    if (fate.kind === 'hold') return undefined;
    if (fate.kind === 'answer') return fate.body;
    if (asked.from.toLowerCase() !== account.address.toLowerCase()) {
      return {
        jsonrpc: '2.0',
        id,
        error: { code: -32_000, message: 'From address does not match any account' },
      };
    }
    const transaction: TransactionSerializableEIP1559 = {
      ...{ type: 'eip1559', chainId: options.chainId, to: asked.to, data: asked.data },
      ...{ gas: hexToBigInt(asked.gas), nonce: hexToNumber(asked.nonce), value: hexToBigInt(asked.value) },
      maxFeePerGas: hexToBigInt(asked.maxFeePerGas),
      maxPriorityFeePerGas: hexToBigInt(asked.maxPriorityFeePerGas),
    };
    const signer = fate.kind === 'sign-as' ? privateKeyToAccount(fate.key) : account;
    const result = await signer.signTransaction(
      fate.kind === 'change' ? fate.change(transaction) : transaction,
    );
    return { jsonrpc: '2.0', id, result };
  }

  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}/`,
    address: account.address,
    decide: (next) => {
      fate = next;
    },
    requests,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}
