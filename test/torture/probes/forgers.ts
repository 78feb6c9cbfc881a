import { decodePaymentRequiredHeader, encodePaymentRequiredHeader } from '@x402/core/http';
import { Credential } from 'mppx';
import { withHeaders } from '../../e2e/fault-lab.ts';
import type { Attempt } from '../../e2e/rail-faults/storm/clients.ts';
import type { Wallet } from '../actors/payments.ts';
import { tell, type Violation } from '../audit/violation.ts';
import type { Storm } from '../storm.ts';
import { askAt, payAtRest, walletsOf } from './at-rest.ts';

/** A request that must not be answered, and how it was made. */
type Forgery = { how: string; path: string; request: RequestInit };

type Terms = ReturnType<typeof decodePaymentRequiredHeader>['accepts'][number];

const STRANGER = '0x00000000000000000000000000000000000057A2';

/** Terms of one's own, under our challenge. */
const CHANGES: Record<string, (terms: Terms) => Terms> = {
  'pays somebody else': (terms) => ({ ...terms, payTo: STRANGER }),
  'pays less': (terms) => ({ ...terms, amount: String(BigInt(terms.amount) - 1n) }),
};

/** A payment of other terms, or one that was quoted for another call and never used, buys nothing. */
export async function probeForgers(storm: Storm): Promise<Violation[]> {
  const forgeries = [...(await forgeOnEvm(storm)), ...(await forgeOnTempo(storm))];
  const sold: string[] = [];
  for (const [index, { how, path, request }] of forgeries.entries()) {
    const response = await fetch(askAt(storm, index) + path, request);
    await response.arrayBuffer();
    if (response.status === 200) sold.push(how);
  }
  storm.counts.add('payments made to deceive', forgeries.length);
  return tell('sold-for-nothing', sold, (how) => how);
}

async function forgeOnEvm(storm: Storm): Promise<Forgery[]> {
  const [wallet] = walletsOf(storm, ['evm']);
  const quoted = wallet && (await payAtRest(storm, wallet, { label: 'a call that is quoted' }));
  if (!quoted) return [];
  const { path, request } = quoted;
  const unpaid = await fetch(askAt(storm, 0) + path, request);
  const changed = Object.entries(CHANGES).map(async ([how, change]) => {
    const headers = await wallet.payer.pay(changeTerms(unpaid, change));
    return { how: `a payment that ${how}`, path, request: withHeaders(request, headers) };
  });
  const dearer = [...storm.shops.paid.keys()].filter((price) => price > quoted.price);
  const dear = dearer.flatMap((price) => storm.shops.paid.get(price)?.good.path ?? []);
  return [
    ...(await Promise.all(changed)),
    { how: 'what was quoted for other arguments', path, request: withOtherLabel(quoted) },
    ...dear.map((other) => ({
      ...{ how: `what was quoted for less, at ${other}`, path: other, request: quoted.paid ?? {} },
    })),
  ];
}

function changeTerms(unpaid: Response, change: (terms: Terms) => Terms): Response {
  const offer = decodePaymentRequiredHeader(unpaid.headers.get('payment-required') ?? '');
  const header = encodePaymentRequiredHeader({ ...offer, accepts: offer.accepts.map(change) });
  return new Response(null, { status: 402, headers: { 'payment-required': header } });
}

function withOtherLabel({ paid }: Attempt): RequestInit {
  const body = JSON.parse(String(paid?.body)) as { arguments: object };
  return {
    ...paid,
    body: JSON.stringify({ ...body, arguments: { ...body.arguments, label: 'what nobody asked for' } }),
  };
}

/** A transfer names the challenge it is for: that it is on its chain does not make it pay another one. */
async function forgeOnTempo(storm: Storm): Promise<Forgery[]> {
  const [pushing, pulling] = walletsOf(storm, ['tempo push', 'tempo pull']);
  const pushed = pushing && (await payAtRest(storm, pushing, { label: 'a transfer that is copied' }));
  if (!pushed || !pulling) return [];
  const asked = withOtherLabel({ ...pushed, paid: pushed.request });
  const challenge = await readChallenge(pulling, await fetch(askAt(storm, 0) + pushed.path, asked));
  const transfer = Credential.deserialize(credentialOf(pushed.paid));
  const copied = Credential.serialize({ ...transfer, challenge });
  const request = withHeaders(asked, { [CREDENTIAL]: copied });
  return [{ how: 'a transfer for another challenge', path: pushed.path, request }];
}

const CREDENTIAL = 'payment-authorization';
const credentialOf = (paid: RequestInit | undefined) => new Headers(paid?.headers).get(CREDENTIAL) ?? '';

/** As the stock client reads it: who pulls moves nothing. */
async function readChallenge({ payer }: Wallet, unpaid: Response) {
  const headers = await payer.pay(unpaid);
  return Credential.deserialize(headers[CREDENTIAL] ?? '').challenge;
}
