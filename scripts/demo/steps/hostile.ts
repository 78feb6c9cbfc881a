import { callAnswerSchema, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { loadUpload, priceOf } from '../sample-servers.ts';
import { type Call, type Delivered, invokeUrl, type Listed, type Stage, toBody } from '../stage.ts';
import { readBalance } from './key.ts';
import { publishServer } from './publish.ts';

/** Each attack, and the statuses that say it was contained. */
const ATTACKS = [
  { tool: 'hoard_memory', what: 'memory without end' },
  { tool: 'call_home', what: 'secrets, a network' },
  { tool: 'never_end', what: 'time without end' },
];

/** Code that attacks its host: every attack is an outcome, nobody is charged, and the next call is unaffected. */
export async function containHostile(
  stage: Stage,
  publisherKey: string,
  agentKey: string,
): Promise<{ listed: Listed; delivered: Delivered }> {
  const { narrator } = stage;
  narrator.step('A hostile server: 64 MB and 3 s of its own, no network, and no charge for what it breaks');
  const listed = await publishServer(stage, publisherKey, loadUpload('hostile'));
  const { manifest } = listed;
  const toCall = (tool: string, args: Record<string, unknown>): Call => ({
    ...{ server: manifest.name, tool, arguments: args },
    priceMcents: priceOf(manifest, tool),
  });
  const url = invokeUrl(stage, manifest.name);
  const before = await readBalance(stage, agentKey);
  for (const { tool, what } of ATTACKS) {
    const answer = await send(url, { key: agentKey, body: toBody(toCall(tool, {})) });
    must([502, 504].includes(answer.status), `${tool} fails, and is no ${answer.status}`);
    const { detail, note } = read(answer, answer.status, problemSchema);
    narrator.fact(what, `${answer.status} ${detail}`);
    mustEqual(note, 'no charge applied', 'The note');
  }
  mustEqual(await readBalance(stage, agentKey), before, 'The balance of the key');
  const call = toCall('count_words', { text: 'Nothing of it was left behind.' });
  const answer = read(await send(url, { key: agentKey, body: toBody(call) }), 200, callAnswerSchema);
  mustEqual(Number(answer.result.structuredContent.count), 6, 'The number of words');
  mustEqual(before - (await readBalance(stage, agentKey)), call.priceMcents, 'What left the key');
  narrator.checked('three attacks contained and free; its honest tool was delivered and charged right after');
  return { listed, delivered: { call, answer } };
}
