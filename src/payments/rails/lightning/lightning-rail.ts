import { timeLimit } from '../../../core/time-limit.ts';
import { expectForm } from '../../form.ts';
import type { Rail } from '../../rail.ts';
import type { LightningRailDeps } from './context.ts';
import { claimKeyOf, MSAT, payerOf } from './identity.ts';
import { createMintLimit } from './mint-limit.ts';
import { chooseTerms, offerInvoice } from './offer.ts';
import { cancelIntent, lookUpIntent, settleIntent } from './settle.ts';
import { verifyPreimage } from './verify.ts';
import { watchInvoices } from './watch.ts';

/** The rail on which a Lightning invoice, minted with the challenge, is paid to our node. */
export function createLightningRail(deps: LightningRailDeps): Rail {
  const { clock, settings, timeouts, provider } = deps;
  const limit = createMintLimit({ clock, perAddress: settings.mintsPerAddress, total: settings.mintsTotal });
  const within = (signal: AbortSignal, ms: number) => timeLimit(signal, ms);
  return {
    name: 'lightning',
    forms: ['preimage'],
    identify(given) {
      const { paymentHash } = expectForm(given, 'preimage');
      return { claimKey: claimKeyOf(paymentHash), payer: payerOf(paymentHash) };
    },
    mints: (input) => chooseTerms(deps, input) !== undefined && limit.has(input.address),
    offer(input, signal) {
      const terms = chooseTerms(deps, input);
      // Over the limit nothing is waited for: that is where whoever asks without end is.
      if (!terms || !limit.take(input.address)) return [];
      return offerInvoice(deps, terms, within(signal, timeouts.mintMs));
    },
    verify(given, quote, signal) {
      const form = expectForm(given, 'preimage');
      return verifyPreimage(deps, { form, quote }, within(signal, timeouts.lookMs));
    },
    settle: (intent, signal) => settleIntent(deps, intent, within(signal, timeouts.settleMs)),
    lookup: (intent, signal) => lookUpIntent(deps, intent, within(signal, timeouts.lookMs)),
    cancel: (intent, signal) => cancelIntent(deps, intent, within(signal, timeouts.lookMs)),
    watch: (onArrival, signal) => watchInvoices(deps, onArrival, signal),
    async balances(signal) {
      const { msat } = await provider.balance(within(signal, timeouts.lookMs));
      return [{ account: `A.lightning:${MSAT}`, unit: MSAT, units: msat }];
    },
  };
}
