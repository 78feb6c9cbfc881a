import { Hono } from 'hono';
import { expect, test } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { callerAddress } from '../../src/http/address.ts';
import type { Env } from '../../src/http/env.ts';

/** What the gateway takes for the caller's address. */
async function ask(input: { socket: string; forwarded?: string; trusted?: string }): Promise<string> {
  const { isTrustedProxy } = readConfig({ TRUSTED_PROXIES: input.trusted ?? '' });
  const app = new Hono<Env>().get('/', (c) => c.text(callerAddress({ isTrustedProxy }, c) ?? 'unknown'));
  const headers = input.forwarded === undefined ? {} : { 'x-forwarded-for': input.forwarded };
  const incoming = { socket: { remoteAddress: input.socket } };
  // Only the socket's address is read of what Node hands over.
  const response = await app.request('/', { headers }, { incoming } as never);
  return response.text();
}

test('a stranger cannot choose its address by a header', async () => {
  expect(await ask({ socket: '203.0.113.9', forwarded: '10.0.0.1' })).toBe('203.0.113.9');
});

test('behind a trusted proxy the caller is the last address that is not a proxy', async () => {
  const trusted = '10.0.0.0/8, 2001:db8::/32';
  expect(await ask({ socket: '10.1.1.1', trusted, forwarded: '1.2.3.4, 198.51.100.7' })).toBe('198.51.100.7');
  expect(await ask({ socket: '10.1.1.1', trusted, forwarded: '198.51.100.7, 10.9.9.9' })).toBe(
    '198.51.100.7',
  );
  expect(await ask({ socket: '2001:db8::5', trusted, forwarded: '2400::1' })).toBe('2400::1');
});

test('what is no address ends the chain, and IPv4 on a socket for both reads as IPv4', async () => {
  expect(await ask({ socket: '10.1.1.1', trusted: '10.0.0.0/8', forwarded: 'evil' })).toBe('10.1.1.1');
  expect(await ask({ socket: '::ffff:203.0.113.9' })).toBe('203.0.113.9');
});

test('a proxy that is no address is an error at the start', () => {
  expect(() => readConfig({ TRUSTED_PROXIES: 'proxy.example' })).toThrow(/proxy.example/);
  expect(() => readConfig({ TRUSTED_PROXIES: '10.0.0.0/99' })).toThrow(/10.0.0.0/);
});
