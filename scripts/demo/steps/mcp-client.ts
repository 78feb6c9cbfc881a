import { x402Client } from '@x402/core/client';
import { ExactEvmScheme } from '@x402/evm/exact/client';
import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import type { Account } from '../chain.ts';
import { connectMcp, toCallAnswer } from '../mcp.ts';
import { must, mustEqual } from '../must.ts';
import type { Delivered, Stage } from '../stage.ts';
import { readBalance } from './key.ts';

const settledSchema = z.looseObject({ success: z.literal(true), transaction: z.string() });

/** The stock MCP client: it reads prices off the list, and its key pays. */
export async function callByMcp(stage: Stage, key: string, calls: Calls): Promise<Delivered> {
  const { narrator } = stage;
  const call = calls.findKeyPhrases();
  narrator.step(
    'An MCP client, @modelcontextprotocol/sdk, calls by POST /mcp/{id} with the key as its header',
  );
  const before = await readBalance(stage, key);
  const connection = await connectMcp(stage, call.server, key);
  narrator.fact('server', `${call.server}, which calls itself ${connection.serverName}`);
  for (const [tool, price] of connection.prices) {
    narrator.fact('tools/list', `${tool}, ${formatDollars(BigInt(price))}`);
  }
  mustEqual(connection.prices.get(call.tool), call.priceMcents, 'The price in tools/list');
  const answer = toCallAnswer(await connection.call(call.tool, call.arguments));
  await connection.close();
  const spent = before - (await readBalance(stage, key));
  narrator.fact('tools/call', `${call.tool}: charged ${formatDollars(BigInt(answer.charged_mcents))}`);
  narrator.fact('receipt', answer.receipt_id ?? 'none');
  mustEqual(spent, call.priceMcents, 'What left the key');
  must(answer.receipt_id, 'the call has a receipt');
  narrator.checked('the same tool, price, charge and receipt as over HTTP');
  return { call, answer };
}

/** No key: the challenge is the tool's result, and the payment travels in `_meta` (x402, "MCP transport"). */
export async function payInsideMcp(stage: Stage, agent: Account, calls: Calls): Promise<Delivered> {
  const { narrator, chain } = stage;
  const call = calls.compareLicences();
  narrator.step('Without a key the payment itself travels inside MCP');
  const before = await chain.balanceOf(agent.address);
  const connection = await connectMcp(stage, call.server);
  const asked = await connection.call(call.tool, call.arguments);
  mustEqual(asked.isError, true, 'Whether an unpaid call is refused');
  const challenge = JSON.parse(asked.content[0]?.text ?? '');
  narrator.fact('tools/call', `a result that asks for ${challenge.accepts[0].amount} units of test USDC`);
  const client = new x402Client().register('eip155:*', new ExactEvmScheme(agent));
  const payment = await client.createPaymentPayload(challenge);
  const paid = await connection.call(call.tool, call.arguments, { 'x402/payment': payment });
  await connection.close();
  const answer = toCallAnswer(paid);
  const settled = settledSchema.parse(paid._meta['x402/payment-response']);
  const spent = before - (await chain.balanceOf(agent.address));
  narrator.fact('with x402/payment', `delivered, charged ${formatDollars(BigInt(answer.charged_mcents))}`);
  narrator.fact('transaction', settled.transaction);
  mustEqual(spent, BigInt(call.priceMcents), 'What left the agent on chain');
  narrator.checked('paid, delivered and receipted within two messages of MCP');
  return { call, answer };
}
