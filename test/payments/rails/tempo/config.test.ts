import { expect, test } from 'vitest';
import { z } from 'zod';
import { readTempo, tempoEnvironment } from '../../../../src/config/tempo.ts';

const ADDRESS = '0x20C0000000000000000000000000000000000000';
const whole = { TEMPO_RPC_URL: 'https://rpc.example/', TEMPO_CURRENCY: ADDRESS, TEMPO_RECIPIENT: ADDRESS };
const read = (env: Record<string, string>) => readTempo(z.object(tempoEnvironment).parse(env));

test('nothing set is no rail', () => {
  expect(read({})).toBeUndefined();
  expect(read({ TEMPO_MIN_MCENTS: '200' })).toBeUndefined();
});

test('half a rail is an error that names what is missing', () => {
  expect(() => read({ TEMPO_RPC_URL: whole.TEMPO_RPC_URL })).toThrow(
    'The tempo rail is half configured: TEMPO_CURRENCY, TEMPO_RECIPIENT must be set too',
  );
  expect(() => read({ TEMPO_CHAIN_ID: '4217' })).toThrow(/TEMPO_RPC_URL, TEMPO_CURRENCY, TEMPO_RECIPIENT/);
});

test('a whole one has addresses in lower case and defaults for the rest', () => {
  expect(read(whole)).toEqual({
    rpcUrl: 'https://rpc.example',
    chainId: 4_217,
    currency: ADDRESS.toLowerCase(),
    recipient: ADDRESS.toLowerCase(),
    amountMin: 100n,
    settleMarginMs: 10_000,
  });
  const chosen = { TEMPO_CHAIN_ID: '42431', TEMPO_MIN_MCENTS: '250', TEMPO_SETTLE_MARGIN_SECONDS: '20' };
  expect(read({ ...whole, ...chosen })).toMatchObject({
    chainId: 42_431,
    amountMin: 250n,
    settleMarginMs: 20_000,
  });
});

test('what cannot be meant is refused', () => {
  expect(() => read({ ...whole, TEMPO_RECIPIENT: '0x1234' })).toThrow(/must be an address/);
  expect(() => read({ ...whole, TEMPO_CHAIN_ID: '0' })).toThrow(/must be a chain id/);
  expect(() => read({ ...whole, TEMPO_RPC_URL: 'ftp://rpc.example' })).toThrow();
});
