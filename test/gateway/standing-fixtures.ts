import { randomBytes } from 'node:crypto';
import { systemClock } from '../../src/core/clock.ts';
import { silentLog } from '../../src/core/log.ts';
import { millicents } from '../../src/core/money.ts';
import type { Sale } from '../../src/gateway/index.ts';
import type { HttpDeps } from '../../src/http/index.ts';
import { createQuoteSealer, type Offer, type Rail } from '../../src/payments/index.ts';
import { createL402Wire } from '../../src/payments/wires/l402/index.ts';
import { createMppWire } from '../../src/payments/wires/mpp/index.ts';
import { createX402Wire } from '../../src/payments/wires/x402/index.ts';
import { evmOffer, tempoOffer } from '../payments/wires/mpp-fixtures.ts';

export const secret = randomBytes(32);
export const REALM = 'gateway.example';

/** A rail that offers this and can do nothing else. */
export function railOf(name: Rail['name'], offer: Rail['offer'], further: Partial<Rail> = {}): Rail {
  const never = () => Promise.reject(new Error(`${name} is only asked for offers`));
  return {
    ...{
      name,
      forms: [],
      offer,
      verify: never,
      settle: never,
      lookup: never,
      cancel: never,
      balances: never,
    },
    identify: () => ({ claimKey: '', payer: '' }),
    ...further,
  };
}

/** Every wire, two rails, and nothing else: whoever reaches for a database or a network fails. */
export function standingDeps(rails: Rail[] = [offering('evm', evmOffer), offering('tempo', tempoOffer)]) {
  const shared = { secrets: [secret], clock: systemClock, log: silentLog };
  const networks = [{ chainId: 84532, token: evmOffer.asset }];
  const deps = {
    wires: [
      createMppWire({ ...shared, realm: REALM }),
      createX402Wire({ log: silentLog, networks }),
      createL402Wire(shared),
    ],
    ...{ rails, log: silentLog, settings: {} },
    quotes: createQuoteSealer({ ...shared, lifetimeMs: 300_000 }),
    pending: {},
    challengeBound: () => AbortSignal.timeout(10_000),
    isTrustedProxy: () => false,
  };
  // What asks for a payment needs no more of them, which is what is tested.
  return deps as unknown as HttpDeps;
}

export const sale: Sale = {
  ...{ toolId: 't', versionId: 'v', version: '1.0.0', payeeId: 'p', tier: 'platform', scope: 'example' },
  price: millicents(250n),
  request: { server: 'millicent/example', tool: 'example', arguments: {} },
  resource: { url: 'https://gateway.example/v1/example', description: 'The example call' },
  ...{ runTimeoutMs: 1_000, repairedAt: new Date(0) },
  run: () => Promise.reject(new Error('nothing is run here')),
};

function offering(name: Rail['name'], offer: Offer): Rail {
  return railOf(name, () => [offer]);
}
