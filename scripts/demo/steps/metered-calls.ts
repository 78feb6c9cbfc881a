import { formatDollars } from '../../../src/core/money.ts';
import type { Calls } from '../calls.ts';
import { callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { seconds } from '../narrator.ts';
import { type Call, type Delivered, invokeUrl, type Stage, toBody } from '../stage.ts';
import { readBalance } from './key.ts';

const AT_ONCE = 4;

/** A few hundred calls at once on one key; the balance falls by exactly what they cost. */
export async function makeMeteredCalls(stage: Stage, key: string, calls: Calls): Promise<Delivered[]> {
  const { narrator } = stage;
  const planned = calls.metered();
  narrator.step(
    `${planned.length} metered calls on the key, ${AT_ONCE} at a time, each in a sandbox of its own`,
  );
  const before = await readBalance(stage, key);
  const started = Date.now();
  const progress = narrator.progress('delivered', planned.length);
  const delivered = await inParallel(planned, async (call) => {
    const answer = await callWithKey(stage, key, call);
    progress.advance();
    return { call, answer };
  });
  progress.done();
  const took = seconds(started);
  const after = await readBalance(stage, key);
  narrator.table(['tool', 'calls', 'price', 'charged'], summarise(delivered));
  const charged = sumCharges(delivered);
  narrator.fact('all', `${delivered.length} delivered in ${took}, ${formatDollars(BigInt(charged))} charged`);
  narrator.fact('key balance', `${formatDollars(BigInt(before))} -> ${formatDollars(BigInt(after))}`);
  mustEqual(before - after, charged, 'What left the key');
  const receipts = new Set(delivered.map(({ answer }) => answer.receipt_id));
  must(!receipts.has(undefined), 'every call has a receipt');
  mustEqual(receipts.size, delivered.length, 'The number of receipts');
  narrator.checked('the balance fell by exactly the sum of the charges, and every call has its own receipt');
  return delivered;
}

/** On a key too: what fails is free, and what is free needs no key at all. */
export async function makeUnchargedCalls(stage: Stage, key: string, calls: Calls): Promise<void> {
  const { narrator } = stage;
  narrator.step('On the key, too: a failing call is free, and a free tool needs no payment');
  const before = await readBalance(stage, key);
  const broken = calls.profileBrokenTable();
  const failed = await send(invokeUrl(stage, broken.server), { key, body: toBody(broken) });
  const problem = read(failed, 502, problemSchema);
  mustEqual(problem.note, 'no charge applied', 'The note');
  narrator.fact(broken.tool, `502 ${problem.detail} (${problem.note})`);
  const free = calls.checkJson('{\n  "prices": [250, 50,]\n}');
  const answer = read(
    await send(invokeUrl(stage, free.server), { body: toBody(free) }),
    200,
    callAnswerSchema,
  );
  const { valid, error, line, column } = answer.result.structuredContent;
  narrator.fact(
    free.tool,
    `200 without key or payment: valid ${valid}, line ${line}, column ${column}: ${error}`,
  );
  mustEqual(answer.charged_mcents, 0, 'The charge of a free tool');
  mustEqual(await readBalance(stage, key), before, 'The balance of the key');
  narrator.checked(`the key still has ${formatDollars(BigInt(before))}`);
}

export function sumCharges(delivered: Delivered[]): number {
  return delivered.reduce((sum, { answer }) => sum + answer.charged_mcents, 0);
}

async function callWithKey(stage: Stage, key: string, call: Call) {
  const sent = await send(invokeUrl(stage, call.server), { key, body: toBody(call) });
  const answer = read(sent, 200, callAnswerSchema);
  mustEqual(answer.charged_mcents, call.priceMcents, `The charge for ${call.tool}`);
  return answer;
}

async function inParallel<T, R>(items: T[], work: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  const pending = items.entries();
  const worker = async () => {
    for (const [index, item] of pending) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
  return results;
}

function summarise(delivered: Delivered[]): string[][] {
  const tools = [...new Set(delivered.map(nameOf))];
  return tools.map((tool) => {
    const group = delivered.filter((one) => nameOf(one) === tool);
    const price = group[0]?.call.priceMcents ?? 0;
    return [
      tool,
      String(group.length),
      formatDollars(BigInt(price)),
      formatDollars(BigInt(sumCharges(group))),
    ];
  });
}

function nameOf({ call }: Delivered): string {
  return `${call.server} ${call.tool}`;
}
