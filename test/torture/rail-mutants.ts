import type { Mutant } from './mutant.ts';

/** What payments on rails show, mostly once the storm is over. */
export const RAIL_MUTANTS = {
  exposure: {
    what: 'any number of calls run for a payer before its money is there',
    pieces: [
      {
        file: 'src/ledger/exposure/exposure.ts',
        find: 'if (losses > 0n) return',
        replace: "if (openUnits >= 0n) return { kind: 'after-run' };\n  if (losses > 0n) return",
      },
    ],
    caughtBy: ['exposed-beyond'],
  },
  'never-cancelled': {
    what: 'what a card or a node has set aside is not given back when its call fails',
    pieces: [
      {
        file: 'src/gateway/settle-claim.ts',
        find: "if (!rail || !claim.intent || claim.state !== 'failed' || claim.reference !== null) return;",
        replace: 'if (rail !== undefined) return;\n  if (!rail || !claim.intent) return;',
      },
    ],
    caughtBy: ['kept-although-failed'],
  },
  'any-payee': {
    what: 'an authorization that pays somebody else pays for a call',
    pieces: [
      {
        file: 'src/payments/rails/evm/verify.ts',
        find: 'if (form.to !== context.payTo) return',
        replace: 'if (false) return',
      },
    ],
    caughtBy: ['sold-for-nothing'],
  },
  'other-quote': {
    what: 'what was quoted for one call pays for another one',
    pieces: [
      {
        file: 'src/gateway/admit-credential.ts',
        find: 'if (quote && (quote.requestDigest !== demand.requestDigest || quote.purpose !== demand.purpose)) {',
        replace: 'if (quote && quote.purpose !== demand.purpose) {',
      },
    ],
    caughtBy: ['sold-for-nothing'],
  },
  'attached-once': {
    what: 'a payment that stayed unused, as an earlier one was owed its answer, pays when it is repeated',
    pieces: [
      {
        file: 'src/gateway/owed-answer.ts',
        find: 'const used = await findUse(tx, claimKey);',
        replace:
          // biome-ignore lint/suspicious/noTemplateCurlyInString: it is the text of another file
          'const used = await findUse(tx, claimKey); await tx`DELETE FROM payment_claim WHERE id = ${claimId}`;',
      },
    ],
    caughtBy: ['paid-again'],
  },
  'left-in-hands': {
    what: 'who buys a key and goes away is not noticed',
    pieces: [
      {
        file: 'src/gateway/purchase.ts',
        find: 'return watchClient(deps, { id: claim.id, client }, () => settlePurchase(deps, demand, claim));',
        replace: 'return settlePurchase(deps, demand, claim);',
      },
    ],
    caughtBy: ['paid-again'],
  },
  'settles-alone-never': {
    what: 'what a rail was not heard of is looked for, and never sent again, by the job',
    pieces: [
      {
        file: 'src/gateway/recover.ts',
        find: 'const settlement = await rail.settle(claim.intent, bound);',
        replace: 'const settlement = await rail.lookup(claim.intent, bound);',
      },
    ],
    caughtBy: ['never-at-rest', 'payments-unended', 'claim-left'],
  },
  'final-at-once': {
    what: 'a payment is looked at no more as soon as it stands in a block',
    pieces: [
      {
        file: 'src/payments/rails/evm/settle.ts',
        find: 'isFinal: mined.blockNumber <= final }',
        replace: 'isFinal: mined.blockNumber >= final }',
      },
    ],
    caughtBy: ['rail-sum', 'rail-reconciled'],
  },
} as const satisfies Record<string, Mutant>;
