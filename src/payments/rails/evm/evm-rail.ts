import { invariant } from '../../../core/invariant.ts';
import type { Log } from '../../../core/log.ts';
import { type Eip3009Form, expectForm } from '../../form.ts';
import type { Offer, Rail, RailBalance, Settlement, SettlementIntent } from '../../rail.ts';
import type { EvmPart } from './evm-part.ts';
import { claimKeyOf, payerOf } from './identity.ts';

export type EvmRailDeps = {
  /** In the order in which they are offered. */
  parts: readonly EvmPart[];
  log: Log;
};

/** The rail on which a signed EIP-3009 authorization of a dollar token on an EVM chain moves the money. */
export function createEvmRail({ parts, log }: EvmRailDeps): Rail {
  const byName = new Map(parts.map((part) => [nameOf(part), part]));
  invariant(parts.length > 0 && byName.size === parts.length, 'an evm rail needs parts, each once');
  const partOf = (form: Eip3009Form) => byName.get(nameOf(form));
  const partOfIntent = (intent: SettlementIntent) => partOf(expectForm(intent.form, 'eip3009'));
  return {
    name: 'evm',
    forms: ['eip3009'],
    identify(given) {
      const form = expectForm(given, 'eip3009');
      return { claimKey: claimKeyOf(form), payer: payerOf(form) };
    },
    offer({ quote }) {
      const offers: Offer[] = [];
      for (const part of parts) {
        const offer = part.offer(quote);
        if (offer) offers.push(offer);
      }
      return offers;
    },
    async verify(given, quote, signal) {
      const form = expectForm(given, 'eip3009');
      const part = partOf(form);
      return part ? part.verify({ form, quote }, signal) : { kind: 'refused', reason: explain(parts, form) };
    },
    settle: async (intent, signal) =>
      partOfIntent(intent)?.settle(intent, signal) ?? leaveUnknown(log, intent),
    lookup: async (intent, signal) =>
      partOfIntent(intent)?.lookup(intent, signal) ?? leaveUnknown(log, intent),
    // The payer still has the money: what is not settled needs no giving back.
    cancel: async () => {},
    balances: (signal) => readAllBalances(parts, signal),
    async isSignedBy(input, signal) {
      const part = parts.find(({ network }) => input.payer.startsWith(`${network}:`));
      return part?.isSignedBy(input, signal);
    },
  };
}

function nameOf(of: { network: string; asset: string }): string {
  return `${of.network}/${of.asset}`;
}

function explain(parts: readonly EvmPart[], form: Eip3009Form): string {
  const networks = [...new Set(parts.map(({ network }) => network))];
  if (networks.includes(form.network)) return 'The authorization is for another token.';
  const are = networks.length === 1 ? 'is' : 'are';
  return `Payments on ${form.network} are not taken, ${networks.join(', ')} ${are}.`;
}

/** Money may have moved on a network that somebody took out of the configuration: only its return will tell. */
function leaveUnknown(log: Log, intent: SettlementIntent): Settlement {
  const { network, asset } = expectForm(intent.form, 'eip3009');
  const cause = new Error(`${network} with ${asset} is not configured any more`);
  log.error(
    { claimKey: intent.claimKey, network, asset },
    'a settlement waits for a network that is not configured: put it back until it is settled',
  );
  return { kind: 'unknown', cause };
}

/** A wallet that serves several tokens holds its gas once. */
async function readAllBalances(parts: readonly EvmPart[], signal: AbortSignal): Promise<RailBalance[]> {
  const wallets = new Set<string>();
  const readings = parts.map((part) => {
    const wallet = `${part.network}:${part.wallet}`;
    const withGas = part.wallet !== undefined && !wallets.has(wallet);
    wallets.add(wallet);
    return part.balances({ withGas }, signal);
  });
  const sums = new Map<string, RailBalance>();
  for (const balance of (await Promise.all(readings)).flat()) {
    const units = (sums.get(balance.account)?.units ?? 0n) + balance.units;
    sums.set(balance.account, { ...balance, units });
  }
  return [...sums.values()];
}
