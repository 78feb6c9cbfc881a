import { NoteError } from '../provenance/index.ts';
import { fetchSummary, type ToolSummary } from './audit-sales/answers.ts';
import { auditTool, type ToolAudit } from './audit-sales/audit-tool.ts';
import { type BuyersReceipt, readBuyersReceipts } from './audit-sales/buyers-receipts.ts';
import { type Door, openDoor } from './audit-sales/door.ts';
import { createLanes, watchLog } from './audit-sales/lanes.ts';
import { copyLog, LogFault } from './audit-sales/log-copy.ts';
import { type Command, type CommandInput, textOf, textsOf, UsageError } from './command.ts';
import { toOneLine } from './printable.ts';
import { readVkeys } from './verify/keys.ts';

const FAULTS_SHOWN = 100;
/** Whoever serves that many may serve them without an end. */
const FAULTS_MAX = 10_000;

export const auditSalesCommand: Command = {
  options: {
    key: { type: 'string' },
    tool: { type: 'string' },
    vkey: { type: 'string', multiple: true },
    receipt: { type: 'string', multiple: true },
  },
  optionTexts: [
    ['--key <key>', 'a key of the publisher; when left out, the first line of standard input'],
    ['--tool <name>', 'one server of the publisher; all of them when left out'],
    ['--vkey <key>', "the receipts log's key from elsewhere; the gateway is asked when left out"],
    ['--receipt <file>', 'a receipt that a buyer showed; may be given several times'],
  ],
  async run(input) {
    const key = textOf(input, 'key') ?? (await input.readFirstLine());
    if (key === '') throw new UsageError('audit-sales needs a key of the publisher.');
    const door = openDoor({ url: input.url, key, signal: input.signal });
    const faults = createFaults();
    try {
      return await auditSales(input, door, faults);
    } catch (cause) {
      if (!(cause instanceof LogFault || cause instanceof NoteError)) throw cause;
      // A log that does not hold proves nothing: that is what was asked about.
      faults.complain(cause.message);
      return conclude(input, faults, []);
    }
  },
};

async function auditSales(input: CommandInput, door: Door, faults: Faults): Promise<number> {
  const tools = new Set((await fetchSummary(door, textOf(input, 'tool'))).map(({ name }) => name));
  requireSome(input, tools);
  const lanes = createLanes();
  const log = await copyLog(door, await chooseKeys(input, door), watchLog(lanes, tools, faults.complain));
  input.print(`${log.origin}: ${log.treeSize} entries, as its checkpoint signs them`);
  // The books after the log, so that they hold all that is in it, and before the list, which goes on beyond them.
  const summaries = await fetchSummary(door, textOf(input, 'tool'));
  nameLost(tools, summaries, faults);
  const receipts = await readBuyersReceipts(door, textsOf(input, 'receipt'), faults.complain);
  nameStrangers(input, summaries, receipts, faults);
  const audits: ToolAudit[] = [];
  for (const summary of summaries.filter(({ name }) => tools.has(name))) {
    const own = receipts.filter(({ payload }) => payload.server === summary.name);
    const audit = await auditTool({ door, log, lanes, receipts: own, complain: faults.complain }, summary);
    input.print(describe(audit, lanes.of(summary.name).length));
    audits.push(audit);
  }
  return conclude(input, faults, audits);
}

/** Who asked about sales is not told that all is well when the gateway speaks of none of them. */
function requireSome(input: CommandInput, tools: ReadonlySet<string>): void {
  const asked = textOf(input, 'tool');
  if (asked === undefined ? tools.size > 0 : tools.has(asked)) return;
  throw new Error(`${input.url} tells of no server ${asked ?? 'of this publisher'}: nothing was audited`);
}

/** A server that the books no longer name: what the log holds of it would be held against nothing. */
function nameLost(tools: ReadonlySet<string>, summaries: readonly ToolSummary[], faults: Faults): void {
  for (const tool of tools) {
    if (summaries.some(({ name }) => name === tool)) continue;
    faults.complain(`${tool}: the gateway told of it when it was first asked, and the books leave it out.`);
  }
}

/** A receipt of a server that is not told to be the publisher's: one that was left out whole, or a mistake. */
function nameStrangers(
  input: CommandInput,
  summaries: readonly ToolSummary[],
  receipts: readonly BuyersReceipt[],
  faults: Faults,
): void {
  for (const { file, payload } of receipts) {
    if (summaries.some(({ name }) => name === payload.server)) continue;
    if (textOf(input, 'tool') !== undefined) {
      throw new UsageError(`${file} is a receipt of ${payload.server}, which --tool leaves out.`);
    }
    faults.complain(
      `${file}: the receipt is of ${payload.server}, which is not among the publisher's servers.`,
    );
  }
}

async function chooseKeys(input: CommandInput, door: Door): Promise<string[]> {
  const told = readVkeys(input, 'vkey');
  if (told) return told;
  input.complain('Without --vkey the key of the log is what the gateway says it is.');
  const text = (await door.bytes('/log/receipts/vkey'))?.toString() ?? '';
  return text.split('\n').filter((line) => line !== '');
}

type Faults = { complain(fault: string): void; shown: readonly string[]; count(): number };

function createFaults(): Faults {
  const shown: string[] = [];
  let count = 0;
  return {
    shown,
    count: () => count,
    complain(fault) {
      count += 1;
      if (shown.length < FAULTS_SHOWN) shown.push(fault);
      if (count === FAULTS_MAX) throw new LogFault('There are more faults than are looked for.');
    },
  };
}

function describe({ tool, sales, opened, pending, sums }: ToolAudit, laneCount: number): string {
  const lines = [
    `${tool}: ${sales} sales on ${laneCount} lanes; ${opened} open their commitment in the log`,
    `  gross ${sums.gross}, fees ${sums.fees}, net ${sums.net} mcents from ${sums.count} sales`,
  ];
  if (pending > 0)
    lines.push(`  ${pending} pending: sold, and not under a checkpoint yet; audit again later`);
  return lines.join('\n');
}

function conclude(input: CommandInput, { shown, count }: Faults, audits: readonly ToolAudit[]): number {
  for (const fault of shown) input.print(toOneLine(`FAULT ${fault}`));
  if (count() > shown.length) input.print(`and ${count() - shown.length} more`);
  if (count() === 0) {
    const pending = audits.reduce((sum, audit) => sum + audit.pending, 0);
    const tools = audits.map(({ tool }) => tool).join(', ');
    const rest = pending === 0 ? '' : ` Of ${pending} of them the log does not speak yet.`;
    input.print(toOneLine(`No sale of ${tools} was left out: receipts, log and books agree.${rest}`));
    return 0;
  }
  input.print(`${count()} faults: receipts, log and books do not agree.`);
  return 1;
}
