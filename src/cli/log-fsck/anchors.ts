import { z } from 'zod';
import {
  ANCHORS_COUNT_CALL,
  anchorAtCall,
  type ChainAnchor,
  check,
  decodeAnchorAt,
  decodeAnchorsCount,
  isVersionAnchorCode,
} from '../../provenance/index.ts';
import type { GivenContract } from '../verify/contracts.ts';
import { downloadJson, hex, quantity, type Rpc } from '../verify/http.ts';

/** What a contract holds, in order. */
export type AnchoredLog = GivenContract & { anchors: readonly ChainAnchor[] };

/** Ten years of one each hour. */
const ANCHORS_MAX = 100_000;
const ANCHORS_BYTES_MAX = 4 * 1024 * 1024;
const AT_ONCE = 16;

const targetsSchema = z.object({
  targets: z.array(z.object({ log: z.string(), chain_id: z.int().positive(), contract: hex })).max(1_000),
});

/** The contracts that a gateway says it anchors the log in. */
export async function fetchContracts(
  input: { url: string; signal: AbortSignal },
  log: string,
): Promise<GivenContract[]> {
  const url = `${input.url}/anchors?log=${log}`;
  const answer = await downloadJson(url, { bytesMax: ANCHORS_BYTES_MAX, signal: input.signal });
  const parsed = targetsSchema.safeParse(answer);
  if (!parsed.success) throw new Error(`${url} does not say where the log is anchored`);
  return parsed.data.targets
    .filter((target) => target.log === log)
    .map(({ chain_id, contract }) => ({ chainId: chain_id, address: contract }));
}

/** Everything the contracts on the node's chain hold, read from the chain itself. Throws what it refutes. */
export async function readAnchored(rpc: Rpc, contracts: readonly GivenContract[]): Promise<AnchoredLog[]> {
  const chainId = await rpc.call('eth_chainId', [], quantity);
  const here = contracts.filter((contract) => contract.chainId === chainId);
  const found: AnchoredLog[] = [];
  for (const contract of here) found.push({ ...contract, anchors: await readAll(rpc, contract) });
  return found;
}

async function readAll(rpc: Rpc, { address }: GivenContract): Promise<ChainAnchor[]> {
  const ask = (data: string) => rpc.call('eth_call', [{ to: address, data }, 'latest'], hex);
  const code = await rpc.call('eth_getCode', [address, 'latest'], hex);
  check(isVersionAnchorCode(code), `the chain has other code than VersionAnchor at ${address}`);
  const count = decodeAnchorsCount(await ask(ANCHORS_COUNT_CALL));
  check(
    count !== undefined && count <= ANCHORS_MAX,
    `the contract ${address} holds more anchors than are read`,
  );
  const anchors: ChainAnchor[] = [];
  for (let first = 0; first < count; first += AT_ONCE) {
    const indexes = Array.from({ length: Math.min(AT_ONCE, count - first) }, (_, at) => first + at);
    const answers = await Promise.all(indexes.map((index) => ask(anchorAtCall(index))));
    anchors.push(...answers.map(decodeAnchorAt));
  }
  return anchors;
}
