import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Client as StatelessClient, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StreamableHTTPClientTransport as SessionTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';
import type { Transport } from '@modelcontextprotocol/sdk/shared/transport.js';
import { evm, tempo } from 'mppx/client';
import { McpClient } from 'mppx/mcp/client';
import { createClient, type Hex, http } from 'viem';
import { generatePrivateKey, type PrivateKeyAccount, privateKeyToAccount } from 'viem/accounts';
import { tempoModerato } from 'viem/tempo/chains';
import { z } from 'zod';
import type { Rails } from '../../scripts/dev/rails.ts';
import type { RailName } from '../../src/payments/index.ts';
import { lightningClient } from '../payments/wires/mpp-fixtures.ts';
import { importStockClient } from '../stock-clients/ensure.ts';
import { runCommand } from './stock-clients-child.ts';

/** What a client hands to its caller. */
export const calledSchema = z.object({
  content: z.array(z.looseObject({ type: z.string(), text: z.string().optional() })),
  structuredContent: z.unknown().optional(),
  isError: z.boolean().optional(),
  _meta: z.record(z.string(), z.unknown()).optional(),
});
export type Called = z.infer<typeof calledSchema>;

/** An unmodified client that pays over MCP, connected to one server. */
export type McpBuyer = {
  rail: RailName;
  call(tool: string, args: Record<string, unknown>): Promise<Called>;
  close(): Promise<void>;
};
export type Connect = (rails: Rails, url: string) => Promise<McpBuyer>;

const INFO = { name: 'test-client', version: '1.0.0' };

/** The SDK of the 2025 era, as it is. */
export async function connectSession(
  url: string,
  capabilities: object = {},
  requestInit: RequestInit = {},
  pay: typeof fetch = fetch,
) {
  const client = new Client(INFO, { capabilities });
  // Its transport's optional members are not declared for this compiler option; the object is what it takes.
  await client.connect(new SessionTransport(new URL(url), { requestInit, fetch: pay }) as Transport);
  return client;
}

/** The SDK of 2026-07-28, which speaks nothing else here. */
export async function connectStateless(
  url: string,
  capabilities: object = {},
  requestInit: RequestInit = {},
) {
  const versionNegotiation = { mode: { pin: '2026-07-28' } };
  const client = new StatelessClient(INFO, { capabilities, versionNegotiation });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

/** A client of either SDK, as far as wrappers use it. */
type Sdk = { callTool(params: never, ...more: never[]): Promise<unknown>; close(): Promise<void> };
type Plain = { callTool(params: { name: string; arguments: object }): Promise<unknown> };

function buyerOf(rail: RailName, client: Sdk, call: Plain['callTool']): McpBuyer {
  return {
    rail,
    call: async (name, args) => calledSchema.parse(await call({ name, arguments: args })),
    close: () => client.close(),
  };
}

/** mppx puts itself in place of `callTool` of the client it is given. */
function wrapMppx(
  rail: RailName,
  client: Sdk,
  methods: Parameters<typeof McpClient.wrap>[1]['methods'],
): McpBuyer {
  // Its parameter is the SDK's whole class; what it uses is `callTool`, and the tests show that this works.
  const wrapped = McpClient.wrap(client as never, { methods }) as unknown as Plain;
  return buyerOf(rail, client, (params) => wrapped.callTool(params));
}

type CloudflareClient = {
  callTool(confirm: null, params: { name: string; arguments: object }): Promise<unknown>;
};
type Cloudflare = {
  withX402Client(client: object, config: { network: string; account: PrivateKeyAccount }): CloudflareClient;
};

async function wrapCloudflare(rails: Rails, client: Sdk): Promise<McpBuyer> {
  // What the package exports is written down above, and the tests show that it holds.
  const { withX402Client } = (await importStockClient('agents/dist/mcp/client/x402.js')) as Cloudflare;
  const account = privateKeyToAccount(await fundEvm(rails));
  const paying = withX402Client(client, { network: 'base-sepolia', account });
  return buyerOf('evm', client, (params) => paying.callTool(null, params));
}

/** Every paying client of MCP that we know of, in each era it speaks, each with a wallet of its own. */
export const MCP_BUYERS: Record<string, Connect> = {
  'mppx, EIP-3009, in the 2025 era': async (rails, url) =>
    wrapMppx('evm', await connectSession(url), [await evmMethod(rails)]),
  'mppx, EIP-3009, on 2026-07-28': async (rails, url) =>
    wrapMppx('evm', await connectStateless(url), [await evmMethod(rails)]),
  'mppx, Tempo': async (rails, url) =>
    wrapMppx('tempo', await connectSession(url), [await tempoMethod(rails)]),
  'mppx, a lightning method': async (rails, url) =>
    wrapMppx('lightning', await connectSession(url), [
      lightningClient((invoice) => payInvoice(rails, invoice)),
    ]),
  'withX402Client of Cloudflare agents, in the 2025 era': async (rails, url) =>
    wrapCloudflare(rails, await connectSession(url)),
  'withX402Client of Cloudflare agents, on 2026-07-28': async (rails, url) =>
    wrapCloudflare(rails, await connectStateless(url)),
  'x402-mcp of Vercel': connectVercel,
  'mcpc of Apify': connectMcpc,
};

export async function fundEvm({ anvil }: Rails): Promise<Hex> {
  const key = generatePrivateKey();
  await anvil.mint(privateKeyToAccount(key).address, 10_000_000n);
  return key;
}

async function evmMethod(rails: Rails) {
  const account = privateKeyToAccount(await fundEvm(rails));
  return evm.charge({ account, currencies: [evm.assets.baseSepolia.USDC], maxAmount: '0.10' });
}

async function tempoMethod({ tempo: { rpcUrl, fundPayer } }: Rails) {
  const account = privateKeyToAccount(await fundPayer());
  const chain = { ...tempoModerato, rpcUrls: { default: { http: [rpcUrl] } } };
  const getClient = () => createClient({ account, chain, transport: http(rpcUrl), pollingInterval: 20 });
  return tempo.charge({ account, mode: 'pull', getClient });
}

const paidSchema = z.object({ preimage: z.string() });

export async function payInvoice({ lightning }: Rails, invoice: string): Promise<string> {
  const response = await fetch(lightning.payUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ invoice }),
  });
  return paidSchema.parse(await response.json()).preimage;
}

type VercelTool = { execute(args: object, options: object): Promise<unknown> };
type VercelClient = { tools(): Promise<Record<string, VercelTool>>; close(): Promise<void> };
type Ai = { experimental_createMCPClient(options: { transport: object }): Promise<VercelClient> };
type X402Mcp = {
  withPayment(client: VercelClient, options: { account: object; network: string }): Promise<VercelClient>;
};
const v1Schema = z.object({ x402Version: z.literal(1), accepts: z.array(z.unknown()).min(1) });

/** Its model calls without a payment, copies the requirements it reads into a tool that signs, and calls again. */
async function connectVercel(rails: Rails, url: string): Promise<McpBuyer> {
  // What the packages export is written down above, and the tests show that it holds.
  const ai = (await importStockClient('ai/dist/index.mjs')) as Ai;
  const { withPayment } = (await importStockClient('x402-mcp/dist/client.js')) as X402Mcp;
  const transport = new SessionTransport(new URL(url));
  const account = privateKeyToAccount(await fundEvm(rails));
  const client = await withPayment(await ai.experimental_createMCPClient({ transport }), {
    ...{ account, network: 'base-sepolia' },
  });
  const tools = await client.tools();
  const run = async (tool: string, args: object) =>
    tools[tool]?.execute(args, { messages: [], toolCallId: '1' });
  return {
    rail: 'evm',
    async call(tool, args) {
      const refused = calledSchema.parse(await run(tool, args));
      const read = refused.content.map(({ text = '' }) => readV1(text)).find((found) => found !== undefined);
      if (!refused.isError || !read) return refused;
      const signed = await run('generatePaymentAuthorization', { paymentRequirements: read.accepts[0] });
      const { paymentAuthorization } = z.object({ paymentAuthorization: z.string() }).parse(signed);
      return calledSchema.parse(await run(tool, { ...args, paymentAuthorization }));
    },
    close: () => client.close(),
  };
}

function readV1(text: string): z.infer<typeof v1Schema> | undefined {
  try {
    return v1Schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** The command line, with a home and a wallet of its own; its bridge keeps a session between commands. */
async function connectMcpc(rails: Rails, url: string): Promise<McpBuyer> {
  const home = mkdtempSync(join(tmpdir(), 'mcpc-'));
  const script = join(import.meta.dirname, '../stock-clients/node_modules/@apify/mcpc/bin/mcpc');
  const run = (...args: string[]) =>
    runCommand(process.execPath, [script, '--json', ...args], {
      ...{ PATH: process.env.PATH ?? '', HOME: home, MCPC_HOME_DIR: home },
    });
  await run('x402', 'import', await fundEvm(rails));
  await run('connect', url, '@test', '--x402');
  return {
    rail: 'evm',
    async call(tool, args) {
      const given = Object.entries(args).map(([name, value]) => `${name}:=${JSON.stringify(value)}`);
      return calledSchema.parse(JSON.parse(await run('@test', 'tools-call', tool, ...given)));
    },
    async close() {
      await run('close', '@test');
      rmSync(home, { recursive: true, force: true });
    },
  };
}
