import { z } from 'zod';
import { formatDollars } from '../../../src/core/money.ts';
import { callAnswerSchema } from '../http.ts';
import { connectMcp } from '../mcp.ts';
import { must, mustEqual } from '../must.ts';
import type { Delivered, Stage } from '../stage.ts';
import type { Uploaded } from './uploads.ts';

const foundSchema = z.looseObject({ servers: z.array(z.looseObject({ name: z.string() })) });
const boughtSchema = callAnswerSchema.omit({ ok: true });
const verdictSchema = z.looseObject({
  verified: z.boolean(),
  log_index: z.int(),
  checks: z.array(z.looseObject({ check: z.string(), ok: z.boolean() })),
});

/** One MCP endpoint for all of it: the gateway's own server finds, calls and verifies every other one. */
export async function useMarketplace(stage: Stage, agentKey: string, uploaded: Uploaded): Promise<Delivered> {
  const { narrator } = stage;
  narrator.step(
    'The marketplace is a server in its own catalog: an agent needs no address but /mcp/millicent',
  );
  const { listed, words, delivered } = uploaded;
  const { name } = listed.manifest;
  const connection = await connectMcp(stage, 'millicent', agentKey);
  const ask = async (tool: string, args: Record<string, unknown>) => {
    const { isError, content, structuredContent } = await connection.call(tool, args);
    must(!isError, `${tool} answers: ${content[0]?.text}`);
    return structuredContent;
  };
  const { servers } = foundSchema.parse(await ask('search_mcps', { q: words }));
  narrator.fact('search_mcps', `"${words}": ${servers.map((server) => server.name).join(', ')}`);
  mustEqual(servers[0]?.name, name, 'The first server that was found');

  const { call } = delivered;
  const { tool, arguments: args } = call;
  const bought = boughtSchema.parse(await ask('call_tool', { server: name, tool, arguments: args }));
  mustEqual(bought.charged_mcents, call.priceMcents, 'The charge');
  narrator.fact('call_tool', `${tool}, charged ${formatDollars(BigInt(bought.charged_mcents))} to the key`);

  const verdict = verdictSchema.parse(await ask('verify_version', { server: name }));
  await connection.close();
  for (const { check, ok } of verdict.checks) narrator.fact(ok ? 'verify_version' : 'FAILED', check);
  must(verdict.verified, 'the version is what was logged');
  mustEqual(verdict.log_index, listed.logIndex, 'The index in the log');
  narrator.checked(`found, bought and verified against log entry #${verdict.log_index}, over one connection`);
  return { call, answer: { ok: true, ...bought } };
}
