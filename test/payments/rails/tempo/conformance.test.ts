import { describeRail } from '../conformance.ts';
import { startTempoLab } from './lab.ts';

describeRail('tempo, signed and sent by us (pull)', async () => {
  const lab = await startTempoLab();
  return {
    createRail: () => lab.rail(),
    pay: (offer, fault) => lab.pay(offer, 'pull', fault),
    received: lab.received,
    close: lab.close,
  };
});

describeRail(
  'tempo, sent by the payer (push)',
  async () => {
    const lab = await startTempoLab();
    return {
      createRail: () => lab.rail(),
      pay: (offer, fault) => lab.pay(offer, 'push', fault),
      received: lab.received,
      close: lab.close,
    };
  },
  // What is mined expires no more.
  { isPaidWhenShown: true, faults: ['pays-less', 'pays-more', 'pays-another', 'forged'] },
);
