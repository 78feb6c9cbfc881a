import { Hono } from 'hono';
import { serveApp } from './serve.ts';

/** What the gateway's example answers, without a gateway: the least that an HTTP answer costs here. */
const app = new Hono();
app.get('/v1/example', (c) =>
  c.json({
    ok: true,
    message: 'Hello agent: this call was paid for and delivered.',
    charged_mcents: 100,
    receipt_id: '01980000-0000-7000-8000-000000000000',
  }),
);
serveApp(app);
