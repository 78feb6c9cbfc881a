import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { sha256Hex } from '../../../core/bytes.ts';
import type { LogName } from '../../log/transparency-log.ts';
import { writeDurably } from '../write-durably.ts';
import type { Alarm } from './alarm.ts';

const stateSchema = z.strictObject({
  format: z.literal('mcp-monitor-state/v1'),
  url: z.string(),
  log: z.enum(['versions', 'receipts']),
  /** The key that the log must sign with. */
  vkey: z.string(),
  /** Who chose that key. */
  trust: z.enum(['first-use', 'operator']),
  /** The newest checkpoint of which everything held, as a signed note; null while the log has none. */
  checkpoint: z.string().nullable(),
  /** The bundle of old entries that is read again next. */
  auditFrom: z.int().nonnegative(),
  savedAt: z.string(),
});

/** What a monitor knows of a log between two rounds. */
export type MonitorState = z.infer<typeof stateSchema>;

/** Undefined when there is none yet; throws for a file that is something else. */
export async function readMonitorState(path: string): Promise<MonitorState | undefined> {
  const text = await readFile(path, 'utf8').catch((cause: NodeJS.ErrnoException) => {
    if (cause.code === 'ENOENT') return undefined;
    throw cause;
  });
  if (text === undefined) return undefined;
  const parsed = stateSchema.safeParse(parseJson(text));
  if (parsed.success) return parsed.data;
  throw new Error(`${path} is damaged, or is not the state of a monitor: bring it back from a copy`);
}

export function writeMonitorState(path: string, state: MonitorState): Promise<void> {
  return writeDurably(path, `${JSON.stringify(state, null, 2)}\n`);
}

/** What somebody else needs to see for himself what a log did. */
export type Evidence = {
  alarm: Alarm;
  foundAt: Date;
  url: string;
  log: LogName;
  vkey: string | undefined;
  /** The checkpoint that was believed, and the one that does not go with it; both signed notes. */
  trusted: string | undefined;
  presented: string | undefined;
};

/** Writes evidence beside the state, once for the same two checkpoints, and answers where. */
export async function writeEvidence(statePath: string, evidence: Evidence): Promise<string> {
  const { alarm, foundAt, trusted = null, presented = null, vkey = null, url, log } = evidence;
  const { kind, message: detail, exhibits } = alarm;
  const name = sha256Hex(JSON.stringify([kind, detail, trusted, presented])).slice(0, 12);
  const path = `${statePath}.evidence-${kind}-${name}.json`;
  const members = { kind, detail, foundAt: foundAt.toISOString(), url, log, vkey, trusted, presented };
  const text = JSON.stringify({ format: 'mcp-monitor-evidence/v1', ...members, exhibits }, null, 2);
  await writeDurably(path, `${text}\n`);
  return path;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
