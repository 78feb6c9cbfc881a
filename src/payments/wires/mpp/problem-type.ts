import type { RefusalCode } from '../../wire.ts';
import type { MethodName } from './methods.ts';

const BASE = 'https://paymentauth.org/problems/';

/** draft-httpauth-payment, section 8. */
const CORE: Record<RefusalCode, string> = {
  malformed: 'malformed-credential',
  'unknown-challenge': 'invalid-challenge',
  expired: 'payment-expired',
  'verification-failed': 'verification-failed',
};

/** draft-lightning-charge-00, section 9. */
const LIGHTNING: Record<RefusalCode, string> = {
  malformed: 'lightning/malformed-credential',
  'unknown-challenge': 'lightning/unknown-challenge',
  expired: 'lightning/expired-invoice',
  'verification-failed': 'lightning/invalid-preimage',
};

/** What the specification calls the refusal of a credential of this method. */
export function toProblemType(code: RefusalCode, method: MethodName | undefined): string {
  return BASE + (method === 'lightning' ? LIGHTNING : CORE)[code];
}
