import { randomBytes } from 'node:crypto';
import { expectForm, type Form } from '../../../../src/payments/form.ts';
import type { Quote } from '../../../../src/payments/quote.ts';
import type { Bolt11Offer, Offer, Rail } from '../../../../src/payments/rail.ts';
import { describeRail, expectOffer, type Fault, offerOf, quoteOf, type RailHarness } from '../conformance.ts';
import { formOf, type LightningLab, startLightningLab, watch } from './lab.ts';

/** A payer cannot sign for too much or too short a time: the invoice says both. */
const FAULTS: readonly Fault[] = ['pays-less', 'pays-another', 'forged'];

/** What is wrong with what a payer shows: it paid something else, or nothing. */
async function payFaulty(lab: LightningLab, rail: Rail, offer: Bolt11Offer, fault: Fault): Promise<Form> {
  if (fault === 'forged') return formOf(offer, randomBytes(32).toString('hex'));
  const amount = fault === 'pays-less' ? { amount: quoteOf({}).amount } : {};
  const quote: Quote = { ...quoteOf(amount), purpose: 'signup' };
  const other = expectOffer(await offerOf(rail, quote), 'bolt11');
  return formOf(other, await lab.pay(other.invoice));
}

describeRail(
  'lightning, invoices that are paid at once',
  async (): Promise<RailHarness> => {
    const lab = await startLightningLab();
    // As a node without hold invoices: every call is then paid before it runs.
    const provider = { ...lab.provider, can: { ...lab.provider.can, hold: false } };
    const [rail, other] = [await lab.rail({ provider }), await lab.rail({ provider })];
    let created = 0;
    return {
      createRail: () => (created++ % 2 === 0 ? rail : other),
      async pay(given: Offer, fault) {
        const offer = expectOffer(given, 'bolt11');
        if (fault) return payFaulty(lab, rail, offer, fault);
        return formOf(offer, await lab.pay(offer.invoice));
      },
      received: lab.received,
      close: lab.close,
    };
  },
  { faults: FAULTS, isPaidWhenShown: true },
);

describeRail(
  'lightning, payments that are held',
  async (): Promise<RailHarness> => {
    const lab = await startLightningLab();
    const [rail, other] = [await lab.rail(), await lab.rail()];
    const watching = watch(rail);
    const payments = new Map<string, Promise<string>>();
    let created = 0;
    return {
      createRail: () => (created++ % 2 === 0 ? rail : other),
      async pay(given: Offer, fault) {
        const offer = expectOffer(given, 'bolt11');
        if (fault) return payFaulty(lab, rail, offer, fault);
        const payment = lab.pay(offer.invoice);
        payment.catch(() => {});
        payments.set(offer.paymentHash, payment);
        return formOf(offer);
      },
      arrival: async (form) => (await watching.of(expectForm(form, 'preimage').paymentHash)).authorization,
      async showAgain(form) {
        const { paymentHash } = expectForm(form, 'preimage');
        return { kind: 'preimage', paymentHash, preimage: (await payments.get(paymentHash)) ?? '' };
      },
      received: lab.received,
      async close() {
        await watching.stop();
        await lab.close();
      },
    };
  },
  { faults: FAULTS },
);
