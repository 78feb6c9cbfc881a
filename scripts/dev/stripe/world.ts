import { randomBytes } from 'node:crypto';
import type { Charge, Event, GrantedToken, PaymentIntent, Refund, Session, Transaction } from './objects.ts';

/** Everything the server knows, in memory. */
export type World = {
  apiBase: string;
  /** The seller this account is: tokens granted to another are not there for it. */
  networkId: string;
  tokens: Map<string, Grant>;
  payments: Map<string, PaymentIntent>;
  charges: Map<string, Charge>;
  transactions: Map<string, Transaction>;
  sessions: Map<string, { session: Session; paymentMetadata: Record<string, string> }>;
  refunds: Map<string, Refund>;
  events: Event[];
  /** Unix seconds. */
  now(): number;
  /** Notes what happened and tells the webhook. */
  emit(type: string, object: object): void;
};

/** A token with what its seller does not see of it. */
export type Grant = {
  token: GrantedToken;
  payment_method: string;
  network: string;
  /** The payment it was last used for. */
  payment: string | undefined;
};

export type WorldInput = {
  networkId: string;
  nowMs: () => number;
  apiVersion: string;
  onEvent: (event: Event) => void;
};

export function createWorld(input: WorldInput): World {
  const world: World = {
    apiBase: '',
    networkId: input.networkId,
    tokens: new Map(),
    payments: new Map(),
    charges: new Map(),
    transactions: new Map(),
    sessions: new Map(),
    refunds: new Map(),
    events: [],
    now: () => Math.floor(input.nowMs() / 1_000),
    emit(type, object) {
      const event: Event = {
        id: newId('evt'),
        object: 'event',
        api_version: input.apiVersion,
        created: world.now(),
        // As it is at this moment: an event never changes.
        data: { object: structuredClone(object) },
        livemode: false,
        pending_webhooks: 1,
        request: { id: null, idempotency_key: null },
        type,
      };
      world.events.push(event);
      input.onEvent(event);
    },
  };
  return world;
}

/** `pi_3Q...`: a prefix and enough letters and digits that nobody guesses them. */
export function newId(prefix: string): string {
  return `${prefix}_${randomBytes(18).toString('base64url').replaceAll(/[-_]/g, 'x')}`;
}
