import { randomUUID } from 'node:crypto';
import type { Uuid } from '../../../core/ids.ts';
import { formatDollars, type Millicents } from '../../../core/money.ts';
import { Problem } from '../../../core/problem.ts';
import { isPageState, type PageState, type PaymentPages } from '../../../gateway/index.ts';
import type { HttpDeps } from '../../env.ts';
import type { McpEra, PaymentContext, PaymentSpelling } from './payment-required.ts';
import { isMachinePayer, isObject, type JsonObject } from './request.ts';

/** All that asking a person needs: the call, who asks, and what came back of asking before. */
export type PersonAsked = {
  pages: PaymentPages;
  /** Without a trailing slash. */
  publicUrl: string;
  server: string;
  tool: string;
  amount: Millicents;
  /** `digestCall` of the request. */
  requestDigest: string;
  /** The account of the key that came with the request. */
  accountId: Uuid | undefined;
  /** What the call hands back to its tool: `further` of `takePageReturn`. */
  further: JsonObject | undefined;
  returned: PageReturn | undefined;
};

/** What a client brings back from the page: its person's answer, and what was asked. */
export type PageReturn = PageState & { isExpired: boolean; action: string | undefined };

const ASKED = 'pay';

/** Whether this gateway has a page that could take a person's money: a card or a Lightning invoice. */
export function offersPage(deps: Pick<HttpDeps, 'checkout' | 'rails'>): boolean {
  return deps.checkout !== undefined || deps.rails.some(({ name }) => name === 'lightning');
}

/**
 * Parts what belongs to a payment page from what belongs to a tool, before a request is hashed or priced:
 * `further` holds the `inputResponses` and `requestState` of a request. The tool's own come back out of ours.
 */
export function takePageReturn(
  pages: PaymentPages,
  further: JsonObject | undefined,
): { further: JsonObject | undefined; returned: PageReturn | undefined } {
  const text = further?.requestState;
  if (!isPageState(text)) return { further, returned: undefined };
  const state = pages.openState(text);
  if (!state) throw refuse('The requestState is not one of ours, or was changed.');
  const responses = further?.inputResponses;
  const response = isObject(responses) ? responses[ASKED] : undefined;
  const action = isObject(response) && typeof response.action === 'string' ? response.action : undefined;
  return { further: state.further, returned: { ...state, action } };
}

/**
 * Whether a person is to be asked: the client can show an address, nothing about the request says that a
 * program pays, and its person has not declined.
 */
export function wantsPerson({ capabilities, meta, person }: PaymentContext): boolean {
  const { elicitation, experimental } = capabilities;
  if (!isObject(elicitation) || !isObject(elicitation.url)) return false;
  // What a client that pays by itself declares (MPP's transport for MCP).
  if (isObject(experimental) && isObject(experimental.payment)) return false;
  if (isMachinePayer(meta)) return false;
  const action = person?.returned?.action;
  return action !== 'decline' && action !== 'cancel';
}

/**
 * Names the payment page: by an error in the 2025 era (schema 2025-11-25, `URLElicitationRequiredError`), and by
 * `input_required` from 2026-07-28 on. To accept is to consent and not to have paid: who comes back and still has
 * not enough is asked again. `asked` has the challenges for machines, which go beside.
 */
export function askPerson(person: PersonAsked, era: McpEra, asked: JsonObject): PaymentSpelling | undefined {
  const { server, tool, amount, accountId, requestDigest, further } = person;
  const pageToken = reusePage(person) ?? person.pages.sealPage({ server, tool, amount, accountId });
  const url = `${person.publicUrl}/pay/${pageToken}`;
  const message = `One call of ${tool} of ${server} costs ${formatDollars(amount)}. Open the page to pay, then try again.`;
  if (era === '2025') {
    const elicitation = { mode: 'url', elicitationId: randomUUID(), url, message };
    return { kind: 'error', code: -32042, message, data: { elicitations: [elicitation], ...toData(asked) } };
  }
  const requestState = person.pages.sealState({ requestDigest, accountId, pageToken, further });
  if (requestState === undefined) return undefined;
  const params = { mode: 'url', url, message };
  return {
    kind: 'result',
    result: {
      resultType: 'input_required',
      inputRequests: { [ASKED]: { method: 'elicitation/create', params } },
      requestState,
      _meta: asked._meta ?? {},
    },
  };
}

/** The page that is open already stays the page; a state of another call, or of another key, is refused. */
function reusePage({ returned, requestDigest, accountId }: PersonAsked): string | undefined {
  if (!returned) return undefined;
  if (returned.requestDigest !== requestDigest || (returned.accountId ?? accountId) !== accountId) {
    throw refuse('The requestState belongs to another call or another key.');
  }
  // Whoever has a key now is asked to fill it, and not to buy another.
  return returned.isExpired || returned.accountId !== accountId ? undefined : returned.pageToken;
}

/** The challenges as the data of an error: mppx's own where there are any, and everybody else's beside. */
function toData({ _meta }: JsonObject): JsonObject {
  if (!isObject(_meta)) return {};
  const { 'org.paymentauth/payment-required': mpp, ...others } = _meta;
  return { ...others, ...(isObject(mpp) ? mpp : {}) };
}

function refuse(detail: string): Problem {
  return new Problem('malformed-request', { detail, isUncharged: true });
}
