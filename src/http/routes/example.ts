import { Hono } from 'hono';
import { z } from 'zod';
import { spellJson } from '../../core/canonical-json.ts';
import { toWireNumber } from '../../core/money.ts';
import { Problem } from '../../core/problem.ts';
import { exampleSale, fixSale, type PaidCallAnswer, paidCall, type Sale } from '../../gateway/index.ts';
import { announcePayment, clientSignal } from '../answer.ts';
import { BODY_BYTES_MAX, jsonObject, readBody } from '../body.ts';
import type { App, Ctx, Env, HttpDeps } from '../env.ts';
import { readPayment } from '../payment.ts';
import { answerProblem } from '../problems.ts';

const HEAD_REFUSAL = {
  detail: 'HEAD would pay for an answer without a body.',
  headers: [['allow', 'GET, POST']] as const,
};

/** The example of every installation. Most calls of it by key do not come here: see `direct.ts`. */
export function exampleRoutes(deps: HttpDeps): App {
  const app = new Hono<Env>();
  const plain = plainExample(deps);
  app.on(['GET', 'POST'], '/v1/example', async (c) => {
    // Hono answers HEAD by the handler of GET: it would charge for a body that is never sent.
    if (c.req.raw.method === 'HEAD') throw new Problem('method-not-allowed', HEAD_REFUSAL);
    if (c.req.method === 'GET') return answerExample(deps, c, plain);
    const body = await readBody(c, jsonObject, BODY_BYTES_MAX.key);
    return answerExample(deps, c, exampleSale(deps, body));
  });
  return app;
}

/** The example without arguments, which is the same for every caller. */
export function plainExample(deps: HttpDeps): Sale {
  return fixSale(exampleSale(deps, {}));
}

export type ExampleAnswer = Pick<PaidCallAnswer, 'result' | 'charged' | 'receiptId' | 'balance'> &
  Partial<Pick<PaidCallAnswer, 'receipt'>>;

/**
 * The example's answer in the shape that users of pay-per-call templates know: a bare message. ASCII throughout, so
 * that it has as many bytes as characters: a receipt is a compact JWS, and its id a UUID.
 */
export function spellExample(answer: ExampleAnswer): string {
  const { charged, receiptId, receipt, balance } = answer;
  let text = `{"ok":true,"message":${spellMessage(answer.result)},"charged_mcents":${toWireNumber(charged)}`;
  if (receiptId !== undefined) text += `,"receipt_id":${spellJson(receiptId)}`;
  if (receipt !== undefined) text += `,"receipt":${spellJson(receipt)}`;
  if (balance !== undefined) text += `,"balance_mcents":${toWireNumber(balance)}`;
  return `${text}}`;
}

async function answerExample(deps: HttpDeps, c: Ctx, sale: Sale): Promise<Response> {
  const input = { sale, ...(await readPayment(deps, c)) };
  const answer = await paidCall(deps, input, () => clientSignal(c));
  if (answer instanceof Problem) return answerProblem(deps.log, answer, c);
  if (answer.claim) announcePayment(deps, c, answer.claim);
  return c.body(spellExample(answer), 200, { 'content-type': 'application/json' });
}

const resultSchema = z.object({ structuredContent: z.object({ message: z.string() }) });
const messages = new WeakMap<object, string>();
const BEYOND_ASCII = /[\u0080-\uffff]/g;
const escapeUnit = (unit: string): string => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Of one and the same result, which nobody changes, once. */
function spellMessage(result: unknown): string {
  const known = typeof result === 'object' && result !== null ? messages.get(result) : undefined;
  if (known !== undefined) return known;
  const { message } = resultSchema.parse(result).structuredContent;
  const text = spellJson(message).replace(BEYOND_ASCII, escapeUnit);
  if (typeof result === 'object' && result !== null) messages.set(result, text);
  return text;
}
