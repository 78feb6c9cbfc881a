import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { getRequestListener } from '@hono/node-server';
import { type Context, Hono } from 'hono';
import type { Quote } from '../../../src/payments/quote.ts';
import type { Authorization, Offer, Rail, RailName } from '../../../src/payments/rail.ts';
import type { Carried, Credential, Refusal, Wire } from '../../../src/payments/wire.ts';
import { anySignal, intentOf } from '../rails/conformance.ts';

/** Where a shop's money goes: offers for a quote, and what became of a credential that was shown. */
export type Till = {
  name: RailName;
  forms: Rail['forms'];
  offer(quote: Quote): Promise<Offer[]>;
  take(credential: Credential, quote: Quote): Promise<Takings>;
};
export type Takings =
  | { kind: 'taken'; payer: string; reference: string }
  | { kind: 'refused'; reason: string }
  | { kind: 'unknown' };

export type Shop = { url: string; served(): number; close(): Promise<void> };

/**
 * The smallest server that sells one answer by our wires: what a client pays, it takes at once, and it
 * answers with the quote it was shown and what the client said.
 */
export async function openShop(deps: { wires: Wire[]; tills: Till[]; quote: Quote }): Promise<Shop> {
  let served = 0;
  const app = new Hono().all('/paid', async (c) => {
    const content = Buffer.from(await c.req.arrayBuffer());
    const carried = carry(c, content);
    const reading = deps.wires.map((wire) => wire.read(carried)).find((one) => one !== undefined);
    if (reading === undefined) return challenge(deps, c, carried);
    if (reading.kind === 'malformed') {
      const { reason: detail, code } = reading;
      return challenge(deps, c, carried, { detail, code });
    }
    const { credential } = reading;
    if (credential.refusal) return challenge(deps, c, carried, credential.refusal);
    const till = deps.tills.find(({ forms }) => forms.includes(credential.form.kind));
    const takings: Takings = (await till?.take(credential, deps.quote)) ?? { kind: 'unknown' };
    if (!till || takings.kind === 'unknown') return c.json({}, 503);
    if (takings.kind === 'refused') return challenge(deps, c, carried, { detail: takings.reason });
    served += 1;
    const { payer, reference } = takings;
    const { form } = credential;
    const wire = deps.wires.find(({ name }) => name === credential.wire);
    const paid = { form, payer, reference, rail: till.name, settledAt: new Date(), carried };
    for (const [name, value] of wire?.receipt(paid) ?? []) c.header(name, value);
    return c.json({ quoteToken: credential.quoteToken ?? null, said: content.toString('utf8') });
  });
  const server = createServer(getRequestListener(app.fetch));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/paid`,
    served: () => served,
    close: async () => {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
}

function carry(c: Context, content: Buffer): Carried {
  return {
    header: (name) => c.req.header(name),
    method: c.req.method,
    bodyDigest: () =>
      content.length === 0 ? undefined : createHash('sha256').update(content).digest('base64'),
  };
}

async function challenge(
  { wires, tills, quote }: { wires: Wire[]; tills: Till[]; quote: Quote },
  c: Context,
  carried: Carried,
  refusal?: Refusal,
): Promise<Response> {
  const offers = (await Promise.all(tills.map((till) => till.offer(quote)))).flat();
  const parts = wires.flatMap(
    (wire) => wire.challenge({ quote, quoteToken: 'q2.shop', offers, carried, refusal }) ?? [],
  );
  const type = parts.find(({ problemType }) => problemType !== undefined)?.problemType;
  for (const [name, value] of parts.flatMap(({ headers }) => headers))
    c.header(name, value, { append: true });
  return c.json({ ...Object.assign({}, ...parts.map(({ body }) => body)), ...(type ? { type } : {}) }, 402);
}

/** A till on a real rail. */
export function tillOf(rail: Rail): Till {
  return {
    name: rail.name,
    forms: rail.forms,
    offer: async (quote) => rail.offer({ quote, address: undefined }, anySignal()),
    async take({ form }, quote) {
      const verification = await rail.verify(form, quote, anySignal());
      if (verification.kind === 'refused') return { kind: 'refused', reason: verification.reason };
      if (verification.kind !== 'authorised') return { kind: 'unknown' };
      return settle(rail, verification.authorization);
    },
  };
}

async function settle(rail: Rail, authorization: Authorization): Promise<Takings> {
  const settlement = await rail.settle(intentOf(authorization), anySignal());
  if (settlement.kind !== 'settled') return { kind: 'unknown' };
  return { kind: 'taken', payer: authorization.payer, reference: settlement.reference };
}
