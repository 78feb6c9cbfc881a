import { expectForm } from '../../form.ts';
import type { Invoice } from '../../invoice/invoice.ts';
import type { Settlement, SettlementIntent } from '../../rail.ts';
import type { LightningRailDeps } from './context.ts';
import { toSettled } from './identity.ts';
import type { InvoiceStanding } from './provider.ts';
import { isOver } from './verify.ts';

/**
 * Takes a held payment with our preimage, or confirms one that has arrived. The node's word alone settles: a
 * lost answer is followed by another look, and settling again is harmless.
 */
export async function settleIntent(
  deps: LightningRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  return resolve(deps, intent, signal, async (paymentHash, invoice, standing) => {
    if (standing.state !== 'held' || !invoice?.preimage) return standing;
    await deps.provider.settle({ paymentHash, preimage: invoice.preimage }, signal).catch((cause) => {
      deps.log.warn({ err: cause, paymentHash }, 'the answer to a settle was lost or a refusal');
    });
    return deps.provider.lookup(paymentHash, signal);
  });
}

/** What became of a payment; moves nothing. */
export async function lookUpIntent(
  deps: LightningRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<Settlement> {
  return resolve(deps, intent, signal, async (_paymentHash, _invoice, standing) => standing);
}

/** Gives a held payment back, and closes an invoice nobody has paid. Throws while the node cannot say it did. */
export async function cancelIntent(
  deps: LightningRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
): Promise<void> {
  const { paymentHash } = expectForm(intent.form, 'preimage');
  const invoice = await deps.invoices.find(paymentHash);
  if (!invoice?.isHold) return;
  await giveBack(deps, paymentHash, signal);
}

/** The same for one whose claim nobody made: of no use to us, so its payer gets it back. */
export async function giveBack(
  deps: LightningRailDeps,
  paymentHash: string,
  signal: AbortSignal,
): Promise<void> {
  const { state } = await deps.provider.lookup(paymentHash, signal);
  if (state === 'settled' || state === 'missing') return;
  if (state === 'held' || state === 'open') await deps.provider.cancel(paymentHash, signal);
  await deps.invoices.note(paymentHash, { state: 'cancelled', receivedMsat: 0n });
}

type Act = (
  paymentHash: string,
  invoice: Invoice | undefined,
  standing: InvoiceStanding,
) => Promise<InvoiceStanding>;

async function resolve(
  deps: LightningRailDeps,
  intent: SettlementIntent,
  signal: AbortSignal,
  act: Act,
): Promise<Settlement> {
  try {
    signal.throwIfAborted();
    const { paymentHash } = expectForm(intent.form, 'preimage');
    const invoice = await deps.invoices.find(paymentHash);
    const found = await deps.provider.lookup(paymentHash, signal);
    const standing = await act(paymentHash, invoice, found);
    const settlement = judge(deps, { intent, paymentHash, invoice, standing });
    if (settlement.kind === 'settled') {
      await deps.invoices.note(paymentHash, { state: 'settled', receivedMsat: settlement.units });
    }
    return settlement;
  } catch (cause) {
    return { kind: 'unknown', cause };
  }
}

function judge(
  deps: LightningRailDeps,
  facts: {
    intent: SettlementIntent;
    paymentHash: string;
    invoice: Invoice | undefined;
    standing: InvoiceStanding;
  },
): Settlement {
  const { intent, paymentHash, invoice, standing } = facts;
  const { units } = intent;
  switch (standing.state) {
    case 'settled':
      if (standing.receivedMsat >= units)
        return toSettled(paymentHash, standing.receivedMsat, { units, invoice });
      return { kind: 'unknown', cause: new Error(`${standing.receivedMsat} of ${units} msat have arrived`) };
    case 'cancelled':
      return { kind: 'refused', reason: 'The payment was given back before it could be taken.' };
    case 'expired':
      return { kind: 'refused', reason: 'The invoice expired before it was paid.' };
    case 'open':
      // The node closes what expires by itself; one that did not is believed once nothing can be under way.
      return invoice && isOver(invoice, deps.clock.now())
        ? { kind: 'refused', reason: 'The invoice expired before it was paid.' }
        : { kind: 'unknown', cause: new Error('the invoice is not paid yet') };
    case 'held':
      return { kind: 'unknown', cause: new Error('the payment is held') };
    case 'missing':
      return { kind: 'unknown', cause: new Error('the node does not know an invoice of ours') };
    default:
      return standing.state satisfies never;
  }
}
