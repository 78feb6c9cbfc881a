import type { Form } from '../../form.ts';
import type { Challenge, ChallengeInput, CredentialReading } from '../../wire.ts';

/** How one version of the protocol spells challenge, credential and receipt. */
export type X402Version = {
  /** The request header that carries the credential. */
  readonly credentialHeader: string;
  challenge(input: ChallengeInput): Challenge | undefined;
  /** Never throws. */
  read(header: string): CredentialReading;
  receipt(settled: X402Settled): [name: string, value: string][];
};

/** What became of a payment. */
export type X402Settled = { form: Form; reference: string };
