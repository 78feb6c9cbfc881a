import type { LightningProvider } from '../provider.ts';

/** The part of the port that a node without hold invoices has no answer for. */
export function withoutHolds(
  name: string,
  lookup: LightningProvider['lookup'],
): Pick<LightningProvider, 'settle' | 'cancel'> {
  return {
    settle: async () => {
      throw new Error(`${name} has no hold invoices`);
    },
    async cancel(paymentHash, signal) {
      // It expires by itself.
      const { state } = await lookup(paymentHash, signal);
      if (state === 'settled') throw new Error(`${name} has taken the payment already`);
    },
  };
}

export function refuseHold(name: string, input: { hold?: { paymentHash: string } }): void {
  if (input.hold) throw new Error(`${name} has no hold invoices`);
}
