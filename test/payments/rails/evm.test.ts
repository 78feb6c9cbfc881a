import { describeRail } from './conformance.ts';
import { startEvmLab } from './evm-lab.ts';

describeRail('evm', async () => {
  const lab = await startEvmLab();
  return { createRail: () => lab.rail(), pay: lab.pay, received: lab.received, close: lab.close };
});
