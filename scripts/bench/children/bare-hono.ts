import { Hono } from 'hono';
import { EXAMPLE_ANSWER } from './example-answer.ts';
import { serveApp } from './serve.ts';

/** What the gateway's example answers, without a gateway: the least that an HTTP answer costs here. */
const app = new Hono();
app.get('/v1/example', (c) => c.json(EXAMPLE_ANSWER));
serveApp(app);
