import { Hono } from 'hono';
import { Method, z } from 'mppx';
import { evm, Mppx, tempo } from 'mppx/server';
import { serveApp } from './serve.ts';

const TOKEN = '0x036CbD53842c5426634e7929541eC2318f3dCF7e';
const PATH_USD = '0x20c0000000000000000000000000000000000000';
const PAY_TO = '0x00000000000000000000000000000000000000aa';
/** As long as a real one; nobody pays it. */
const INVOICE = `lnbcrt10n1p${'q'.repeat(260)}`;

/** draft-lightning-charge-00 with an invoice that costs nothing to make: what is compared is the wire. */
const lightningCharge = Method.from({
  name: 'lightning',
  intent: 'charge',
  schema: {
    credential: { payload: z.object({ preimage: z.string() }) },
    request: z.pipe(
      z.object({ amount: z.string() }),
      z.transform(({ amount }) => ({
        amount,
        currency: 'sat',
        methodDetails: { invoice: INVOICE, paymentHash: 'ab'.repeat(32), network: 'regtest' },
      })),
    ),
  },
});
const lightning = Method.toServer(lightningCharge, {
  verify: () => Promise.reject(new Error('nothing is paid here')),
});

const mppx = Mppx.create({
  methods: [
    evm.charge({
      ...{ currency: TOKEN, recipient: PAY_TO, chainId: 84532, decimals: 6 },
      authorization: { name: 'USDC', version: '2' },
      settle: () => Promise.reject(new Error('nothing is paid here')),
    }),
    tempo.charge({ testnet: true, currency: PATH_USD, recipient: PAY_TO }),
    lightning,
  ],
  secretKey: 'k'.repeat(32),
  realm: 'bench',
});

/** The published library's challenge of every method that takes the gateway's price, before the same route. */
const app = new Hono();
app.get('/v1/example', async (c) => {
  const scope = 'GET /v1/example';
  const result = await mppx.compose(
    ['evm/charge', { amount: '0.001', scope }],
    ['tempo/charge', { amount: '0.001', scope }],
    ['lightning/charge', { amount: '1', scope }],
  )(c.req.raw);
  return result.status === 402 ? result.challenge : result.withReceipt(c.json({ ok: true }));
});
serveApp(app);
