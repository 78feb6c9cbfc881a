import { describeRail } from '../conformance.ts';
import { PRICE, startStripeLab } from './lab.ts';

describeRail(
  'stripe',
  async () => {
    const lab = await startStripeLab();
    return { createRail: lab.rail, pay: lab.pay, received: lab.received, close: lab.close };
  },
  {
    price: PRICE,
    cheaperPrice: 400_000n,
    // A token is an allowance: what is beyond the price stays with its owner.
    faults: ['pays-less', 'pays-another', 'expires-too-soon', 'forged'],
    isHolding: true,
  },
);
