import { getContractAddress, type Hex, serializeErc6492Signature } from 'viem';
import { privateKeyToAddress } from 'viem/accounts';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { anySignal, authorise, intentOf, offerOf, quoteOf } from './conformance.ts';
import { type EvmLab, startEvmLab } from './evm-lab.ts';
import { deployTestWallet } from './test-wallet.ts';

const PRICE_UNITS = 2_500n;

let lab: EvmLab;
beforeAll(async () => {
  lab = await startEvmLab();
});
afterAll(() => lab.close());

test('a wallet that is funded and not deployed (ERC-6492) is refused at no cost, and pays once it is there', async () => {
  const rail = lab.rail();
  const quote = quoteOf();
  const owner = await lab.createPayer(0n);
  const address = getContractAddress({ from: privateKeyToAddress(owner), nonce: 0n });
  const from = address.toLowerCase() as Hex;
  await lab.chain.anvil.mint(from, PRICE_UNITS);
  const signed = await lab.sign(await offerOf(rail, quote), { key: owner, from });
  const factory = privateKeyToAddress(owner);
  const signature = serializeErc6492Signature({ address: factory, data: '0x', signature: signed.signature });
  const form = { ...signed, signature };
  const refused = { kind: 'refused', reason: expect.stringContaining('deploy it, then pay') };
  expect(await rail.verify(form, quote, anySignal())).toEqual(refused);

  // Should a claim get this far all the same, the token refuses the trial: nothing is sent, no factory called.
  const intent = {
    ...{ ...rail.identify(form), form, units: PRICE_UNITS },
    unit: `eip155:84532/erc20:${form.asset}`,
    validUntil: new Date(Number(form.validBefore) * 1_000),
  };
  const sent = lab.chain.proxy.count('eth_sendRawTransaction');
  expect(await rail.settle(intent, anySignal())).toMatchObject({ kind: 'refused', costs: [] });
  expect(lab.chain.proxy.count('eth_sendRawTransaction')).toBe(sent);
  expect(await lab.balanceOf(from)).toBe(PRICE_UNITS);

  expect((await deployTestWallet(lab.chain.anvil, owner)).toLowerCase()).toBe(from);
  const authorization = await authorise(rail, form, quote);
  expect(authorization.mustSettleFirst).toBe(true);
  expect(await rail.settle(intentOf(authorization), anySignal())).toMatchObject({ kind: 'settled' });
  expect(await lab.balanceOf(from)).toBe(0n);
});
