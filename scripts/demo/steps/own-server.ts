import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import { callAnswerSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { type OwnServer, startOwnServer } from '../own-server.ts';
import { type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';
import { publishedSchema } from './publish.ts';

const PRICE_MCENTS = 200;
const NAME = 'inkwell/order-desk';

const refusedSchema = z.looseObject({
  id: z.uuid(),
  detail: z.string(),
  challenge: z.object({ url: z.url(), body: z.string() }),
});

/** A server that its publisher runs: proved to be the publisher's, called with a token, paid 95 to 5. */
export async function callOwnServer(
  stage: Stage,
  publisherKey: string,
  agentKey: string,
): Promise<{ tools: string[]; delivered: Delivered }> {
  const { narrator } = stage;
  narrator.step("A publisher's own server: its data stays at home, and only the gateway may call it");
  const own = await startOwnServer();
  try {
    const tools = await register(stage, publisherKey, own);
    const direct = await send(own.endpointUrl, { body: { jsonrpc: '2.0', id: 1, method: 'tools/list' } });
    mustEqual(direct.status, 401, 'The status of a request around the gateway');
    narrator.fact(
      'around the gateway',
      `401 ${z.looseObject({ message: z.string() }).parse(JSON.parse(direct.text)).message}`,
    );
    return { tools, delivered: await callIt(stage, agentKey, own) };
  } finally {
    await own.close();
  }
}

async function register({ narrator, info }: Stage, publisherKey: string, own: OwnServer): Promise<string[]> {
  const body = {
    ...{ name: NAME, version: '1.0.0', description: 'Looks up orders of a stationer.', category: ['data'] },
    ...{ tier: 'pro', license: 'MIT', endpoint_url: own.endpointUrl },
    pricing: { model: 'per_call', amount_mcents: PRICE_MCENTS },
  };
  const refused = read(await send(`${info.url}/mcp`, { key: publisherKey, body }), 403, refusedSchema);
  const { pathname } = new URL(refused.challenge.url);
  narrator.fact('POST /mcp', `403 the endpoint is to serve a text at ${pathname.slice(0, 44)}...`);
  own.prove(pathname, refused.challenge.body);
  own.trust({ issuer: info.url, audience: refused.id });
  const published = read(await send(`${info.url}/mcp`, { key: publisherKey, body }), 201, publishedSchema);
  narrator.fact('with that text', `201 ${published.name}, tools ${published.tools.join(', ')}`);
  mustEqual(published.id, refused.id, 'The id of the server');
  return published.tools;
}

async function callIt(stage: Stage, agentKey: string, own: OwnServer): Promise<Delivered> {
  const { narrator } = stage;
  const call = {
    ...{ server: NAME, tool: 'look_up_order', arguments: { order: 'A10021' } },
    priceMcents: PRICE_MCENTS,
  };
  const sent = await send(invokeUrl(stage, NAME), { key: agentKey, body: toBody(call) });
  const answer = read(sent, 200, callAnswerSchema);
  const { customer, product, amount } = answer.result.structuredContent;
  narrator.fact('look_up_order', `A10021: ${product} for ${customer}, $${amount}`);
  mustEqual(answer.charged_mcents, PRICE_MCENTS, 'The charge');
  const [token] = own.calls;
  must(token && own.calls.length === 1, 'the server was called once');
  narrator.fact(
    'the token it got',
    `from ${stage.info.url}, payer ${token.subject.slice(0, 12)}..., tier ${token.tier}`,
  );
  mustEqual(token.tier, 'key', 'How the token says that the call is paid');
  narrator.checked(
    `delivered for ${formatDollars(BigInt(PRICE_MCENTS))}; src/sdk/server verified the token by the gateway's public key`,
  );
  return { call, answer };
}
