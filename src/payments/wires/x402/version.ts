import type { Challenge, ChallengeInput, CredentialReading, PaymentReceiptInput } from '../../wire.ts';

/** How one version of the protocol spells challenge, credential and receipt. */
export type X402Version = {
  /** The request header that carries the credential. */
  readonly credentialHeader: string;
  challenge(input: ChallengeInput): Challenge | undefined;
  /** Never throws. */
  read(header: string): CredentialReading;
  receipt(input: PaymentReceiptInput): [name: string, value: string][];
};
