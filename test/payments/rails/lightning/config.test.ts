import { expect, test } from 'vitest';
import { z } from 'zod';
import { ConfigError } from '../../../../src/config/config-error.ts';
import { lightningEnvironment, readLightning } from '../../../../src/config/lightning.ts';

const schema = z.object({ NODE_ENV: z.string().default('development'), ...lightningEnvironment });
const read = (variables: Record<string, string>) => readLightning(schema.parse(variables));

const LND = {
  LIGHTNING_PROVIDER: 'lnd',
  LIGHTNING_LND_URL: 'https://127.0.0.1:8080/',
  LIGHTNING_LND_MACAROON: '0201aa',
};

test('nothing set is no lightning rail', () => {
  expect(read({})).toBeUndefined();
});

test.each<[Record<string, string>, object]>([
  [LND, { kind: 'lnd', url: 'https://127.0.0.1:8080', macaroonHex: '0201aa' }],
  [
    { LIGHTNING_PROVIDER: 'cln', LIGHTNING_CLN_URL: 'https://cln:3010', LIGHTNING_CLN_RUNE: 'r' },
    { kind: 'cln', url: 'https://cln:3010', rune: 'r' },
  ],
  [
    {
      LIGHTNING_PROVIDER: 'lnbits',
      LIGHTNING_LNBITS_URL: 'https://lnbits.example',
      LIGHTNING_LNBITS_INVOICE_KEY: 'k',
    },
    { kind: 'lnbits', url: 'https://lnbits.example', invoiceKey: 'k' },
  ],
  [
    {
      LIGHTNING_PROVIDER: 'phoenixd',
      LIGHTNING_PHOENIXD_URL: 'http://127.0.0.1:9740',
      LIGHTNING_PHOENIXD_PASSWORD: 'p',
    },
    { kind: 'phoenixd', url: 'http://127.0.0.1:9740', password: 'p' },
  ],
  [
    {
      LIGHTNING_PROVIDER: 'nwc',
      LIGHTNING_NWC_URL: `nostr+walletconnect://${'ab'.repeat(32)}?relay=wss://r&secret=1`,
    },
    { kind: 'nwc', url: `nostr+walletconnect://${'ab'.repeat(32)}?relay=wss://r&secret=1` },
  ],
])('each node is read from its own variables (%j)', (variables, node) => {
  expect(read(variables)).toMatchObject({
    ...{ node, network: 'mainnet', spreadBps: 100n, mintsPerAddress: 30, mintsTotal: 600, heldMax: 100 },
    rate: { kind: 'sources', names: ['coinbase', 'kraken', 'bitstamp', 'mempool'] },
  });
});

test.each<[Record<string, string>, RegExp]>([
  [{ LIGHTNING_PROVIDER: 'lnd' }, /LIGHTNING_LND_URL, LIGHTNING_LND_MACAROON must be set too/],
  [{ LIGHTNING_PROVIDER: 'nwc' }, /LIGHTNING_NWC_URL must be set too/],
  [{ LIGHTNING_LND_URL: 'https://lnd' }, /LIGHTNING_LND_URL is set: LIGHTNING_PROVIDER must say/],
  [{ ...LND, LIGHTNING_RATE: 'coinbase' }, /at least two of/],
  [{ ...LND, LIGHTNING_RATE: 'coinbase,nobody' }, /at least two of/],
  [{ ...LND, LIGHTNING_LND_CA: '/nowhere/tls.cert' }, /LIGHTNING_LND_CA is neither a certificate nor/],
])('half a configuration is an error that names what is missing (%j)', (variables, message) => {
  expect(() => read(variables)).toThrow(ConfigError);
  expect(() => read(variables)).toThrow(message);
});

test('a fixed rate is refused on mainnet unless it is asked for by name', () => {
  const fixed = { ...LND, LIGHTNING_RATE: 'fixed:98765.4321' };
  expect(() => read(fixed)).toThrow(/LIGHTNING_RATE_FIXED_ON_MAINNET=yes/);
  const rate = { kind: 'fixed', millicentsPerBtc: 9_876_543_210n };
  expect(read({ ...fixed, LIGHTNING_RATE_FIXED_ON_MAINNET: 'yes' })).toMatchObject({ rate });
  expect(read({ ...fixed, LIGHTNING_NETWORK: 'regtest' })).toMatchObject({ rate, network: 'regtest' });
});

test('the embedded node is regtest only, and never production', () => {
  const embedded = {
    LIGHTNING_PROVIDER: 'embedded',
    LIGHTNING_EMBEDDED_URL: 'http://127.0.0.1:41000',
    LIGHTNING_EMBEDDED_TOKEN: 't',
  };
  expect(read(embedded)).toMatchObject({ network: 'regtest', node: { kind: 'embedded', token: 't' } });
  expect(() => read({ ...embedded, NODE_ENV: 'production' })).toThrow(/for development/);
  expect(() => read({ ...embedded, LIGHTNING_NETWORK: 'mainnet' })).toThrow(/must be regtest/);
});
