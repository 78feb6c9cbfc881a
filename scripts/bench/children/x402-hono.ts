import { ExactEvmScheme } from '@x402/evm/exact/server';
import { paymentMiddleware, x402ResourceServer } from '@x402/hono';
import { Hono } from 'hono';
import { serveApp } from './serve.ts';

const NETWORK = 'eip155:84532';

/** Never asked for anything but what it supports: a challenge is made before there is a payment. */
const facilitator = {
  getSupported: async () => ({
    kinds: [{ x402Version: 2, scheme: 'exact', network: NETWORK } as const],
    extensions: [],
    signers: {},
  }),
  verify: () => Promise.reject(new Error('nothing is paid here')),
  settle: () => Promise.reject(new Error('nothing is paid here')),
};

/** The published middleware before the same route, at the gateway's price for it. */
const app = new Hono();
app.use(
  paymentMiddleware(
    {
      'GET /v1/example': {
        accepts: {
          scheme: 'exact',
          price: '$0.001',
          network: NETWORK,
          payTo: '0x00000000000000000000000000000000000000aa',
        },
        description: 'The example call',
        mimeType: 'application/json',
      },
    },
    new x402ResourceServer(facilitator).register(NETWORK, new ExactEvmScheme()),
  ),
);
app.get('/v1/example', (c) => c.json({ ok: true }));
serveApp(app);
