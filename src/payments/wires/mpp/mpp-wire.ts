import type { Clock } from '../../../core/clock.ts';
import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import type { RailName } from '../../rail.ts';
import type { ChallengeInput, PaymentReceiptInput, Wire } from '../../wire.ts';
import { readPreferences, weigh } from './accept-payment.ts';
import { toBindingKey } from './binding.ts';
import { createSpeller } from './challenge.ts';
import { peekChallenge, type Reader, readCredential } from './credential.ts';
import { METHODS } from './methods.ts';
import { toProblemType } from './problem-type.ts';

export type MppWireDeps = {
  /** The first signs, every one verifies: how a secret is replaced while challenges are under way. */
  secrets: readonly Buffer[];
  /** Who asks for the money: the gateway's host name. */
  realm: string;
  clock: Clock;
  log: Log;
};

const REALM = /^[\x21\x23-\x5b\x5d-\x7b\x7d\x7e]{1,255}$/;

/** The wire of the `Payment` authentication scheme (draft-httpauth-payment; the Machine Payments Protocol). */
export function createMppWire(deps: MppWireDeps): Wire {
  const keys = deps.secrets.map(toBindingKey);
  const [bindingKey] = keys;
  if (!bindingKey) throw new RangeError('the MPP wire needs a secret');
  invariant(REALM.test(deps.realm), 'a realm that needs no quoting in headers and ids');
  const speller = createSpeller(bindingKey, deps.realm);
  const reader: Reader = { keys, realm: deps.realm, clock: deps.clock };
  return {
    name: 'mpp',
    challenge(input) {
      const values = speller.spell(input);
      if (values.length === 0) return undefined;
      const problemType = nameRefusal(input);
      return {
        headers: values.map((value) => ['WWW-Authenticate', value]),
        body: input.refusal ? { error: input.refusal.detail } : {},
        ...(problemType === undefined ? {} : { problemType }),
      };
    },
    prepare(input) {
      const spell = speller.prepare(input);
      return spell && { headers: (quoteToken) => [['WWW-Authenticate', spell(quoteToken)]], body: {} };
    },
    read(carried) {
      const reading = readCredential(reader, carried);
      if (reading?.kind === 'malformed') {
        deps.log.debug({ reason: reading.reason, code: reading.code }, 'a malformed MPP credential');
      }
      return reading;
    },
    wants(carried) {
      const preferences = readPreferences(carried.header('accept-payment'));
      if (!preferences) return undefined;
      const accepted = METHODS.filter((method) => weigh(preferences, method) > 0);
      // Methods are named like our rails. A client that names none of ours may pay by another wire.
      return accepted.length === 0 ? undefined : new Set<RailName>(accepted);
    },
    receipt: (input) => [['Payment-Receipt', spellReceipt(input)]],
  };
}

/** The problem's `type`, when what was refused is a credential of this wire. */
function nameRefusal({ refusal, carried }: ChallengeInput): string | undefined {
  if (!refusal || (refusal.wire ?? 'mpp') !== 'mpp') return undefined;
  const answered = peekChallenge(carried);
  if (!answered) return undefined;
  return toProblemType(refusal.code ?? 'verification-failed', answered.method);
}

/** draft-httpauth-payment, section 5.3; `challengeId` as draft-lightning-charge-00 asks. */
function spellReceipt({ rail, reference, settledAt, form, carried }: PaymentReceiptInput): string {
  const [settlement = reference] = reference.split('#');
  const answered = form.kind === 'tempo' ? form.challengeId : carried && peekChallenge(carried)?.id;
  const receipt = {
    method: rail,
    reference: settlement,
    status: 'success',
    timestamp: settledAt.toISOString(),
    ...(answered ? { challengeId: answered } : {}),
    ...(form.kind === 'spt' && form.externalId !== '' ? { externalId: form.externalId } : {}),
  };
  return Buffer.from(JSON.stringify(receipt), 'utf8').toString('base64url');
}
