import type { Calls } from '../calls.ts';
import { type Answer, problemSchema, read, send } from '../http.ts';
import { must, mustEqual } from '../must.ts';
import { type Call, invokeUrl, type Listed, type Stage, toBody } from '../stage.ts';
import { readBalance } from './key.ts';

export type RefusalInput = { agentKey: string; publisherKey: string; listed: Listed[]; calls: Calls };

/** What is wrong is refused before anybody pays, with the reason. */
export async function showRefusals(stage: Stage, input: RefusalInput): Promise<void> {
  const { narrator, info } = stage;
  const { agentKey, publisherKey, listed, calls } = input;
  narrator.step('What is wrong is refused before any payment, and says why');
  const before = await readBalance(stage, agentKey);
  const refused = (what: string, status: number, answer: Answer) => {
    const { detail } = read(answer, status, problemSchema);
    narrator.fact(what, `${status} ${detail}`);
  };

  const invoke = (call: Call, key: string) =>
    send(invokeUrl(stage, call.server), { key, body: toBody(call) });
  refused('wrong arguments', 422, await invoke(calls.wrongArguments(), agentKey));
  refused('unknown key', 401, await invoke(calls.analyzeText('Who is there?'), `mcp_${'0'.repeat(48)}`));
  const [sample] = listed;
  must(sample, 'there is a listed server');
  const upload = { ...sample.manifest, name: 'inkwell/stolen', files: sample.files };
  refused('wrong scope', 403, await send(`${info.url}/mcp`, { key: agentKey, body: upload }));
  const files = { ...sample.files, 'server.py': `${sample.files['server.py']}\n# one line more\n` };
  const changed = { method: 'PUT', key: publisherKey, body: { ...sample.manifest, files } } as const;
  refused('changed code', 409, await send(`${info.url}/mcp/${sample.id}`, changed));

  mustEqual(await readBalance(stage, agentKey), before, 'The balance of the key');
  narrator.checked('none of it cost anything; a published version stays what it is');
}
