import { canonicalJson } from '../../core/canonical-json.ts';
import { systemClock, toUnixSeconds } from '../../core/clock.ts';
import { commitTo, encodeCommitment, isCommitment, type ReceiptPayload } from '../../provenance/index.ts';
import { fetchSales, type ListedSale, type ToolSummary } from './answers.ts';
import type { BuyersReceipt } from './buyers-receipts.ts';
import type { Door } from './door.ts';
import { type Lanes, nameMissing, nameUnbooked } from './lanes.ts';
import type { LogCopy } from './log-copy.ts';
import { createSeen } from './seen.ts';

export type ToolAudit = { tool: string; sales: number; opened: number; pending: number; sums: Sums };

/** Sales of which the publisher got a share, in millicents. */
type Sums = { count: number; gross: bigint; fees: bigint; net: bigint };

/** A gateway logs within seconds; what waits for longer is kept from the log. */
const LOGGED_WITHIN_SECONDS = 3_600;

type AuditInput = {
  door: Door;
  log: LogCopy;
  lanes: Lanes;
  /** What buyers showed, of this tool. */
  receipts: readonly BuyersReceipt[];
  complain(fault: string): void;
};

/** Holds every sale of one tool against the log, against what buyers showed, and the sums against the books. */
export async function auditTool(input: AuditInput, summary: ToolSummary): Promise<ToolAudit> {
  const { door, lanes, complain } = input;
  const tool = summary.name;
  for (const { lane, last_seq } of summary.lanes) lanes.get(tool, lane).bookedSeq = last_seq;
  for (const fault of nameUnbooked(tool, lanes)) complain(fault);
  const audit: ToolAudit = {
    ...{ tool, sales: 0, opened: 0, pending: 0 },
    sums: { count: 0, gross: 0n, fees: 0n, net: 0n },
  };
  const shown = new Map(input.receipts.map((receipt) => [placeOf(receipt.payload), receipt]));
  const seen = createSeen();
  for await (const sale of fetchSales(door, tool)) {
    const { receipt } = sale;
    if (receipt.server !== tool || receipt.tool_id !== summary.id) {
      complain(`${tool}: the list holds receipt ${receipt.jti}, which is of ${receipt.server}.`);
      continue;
    }
    audit.sales += 1;
    if (!isNext(input, sale)) continue;
    if (!seen.add(receipt.jti))
      complain(`${describe(sale)}: duplicate, receipt ${receipt.jti} stands twice.`);
    await holdAgainstLog(input, sale, audit);
    holdAgainstReceipt(sale, shown, complain);
    if (receipt.seq <= lanes.get(tool, receipt.lane).bookedSeq) addTo(audit.sums, sale);
  }
  nameEnds(input, tool);
  for (const { file, payload } of shown.values()) {
    complain(
      `${file}: left out, the buyer's receipt ${payload.jti} (lane ${payload.lane}, number ${payload.seq}) is not among the sales of ${tool}.`,
    );
  }
  compareSums(audit.sums, summary, complain);
  return audit;
}

/** Whether the sale is one more of its lane; a second one of a number is named and counts for nothing. */
function isNext({ lanes, complain }: AuditInput, sale: ListedSale): boolean {
  const { server, seq } = sale.receipt;
  const lane = lanes.get(server, sale.receipt.lane);
  if (seq <= lane.listedSeq) {
    complain(`${describe(sale)}: duplicate, the list has this number twice.`);
    return false;
  }
  for (const fault of nameMissing(server, lane, lane.listedSeq + 1, seq - 1)) complain(fault);
  lane.listedSeq = seq;
  return true;
}

/** The sale opens its leaf, or comes after the last one that the checkpoint covers. */
async function holdAgainstLog(
  { log, lanes, complain }: AuditInput,
  sale: ListedSale,
  audit: ToolAudit,
): Promise<void> {
  const { receipt } = sale;
  const isCovered = sale.log !== null && sale.log.index < log.treeSize;
  if (!isCovered || sale.log === null) {
    audit.pending += 1;
    if (receipt.seq <= lanes.get(receipt.server, receipt.lane).loggedSeq) {
      complain(`${describe(sale)}: it is in the log, and the list does not say where.`);
    } else if (receipt.iat < toUnixSeconds(systemClock.now()) - LOGGED_WITHIN_SECONDS) {
      complain(`${describe(sale)}: it is in no log an hour after it was sold.`);
    }
    return;
  }
  const { index, salt } = sale.log;
  const commitment = commitTo(receipt, Buffer.from(salt, 'hex'));
  const entry = await log.entryAt(index);
  if (isCommitment(commitment) && encodeCommitment(commitment).equals(entry)) {
    audit.opened += 1;
    return;
  }
  complain(
    `${describe(sale)}: wrong, what is listed (price ${receipt.price_mcents}, fee ${receipt.fee_mcents} mcents) is not what leaf ${index} was committed to.`,
  );
}

/** What the buyer has in hand must be what the publisher is shown. */
function holdAgainstReceipt(
  sale: ListedSale,
  shown: Map<string, BuyersReceipt>,
  complain: (fault: string) => void,
): void {
  const place = placeOf(sale.receipt);
  const buyers = shown.get(place);
  if (!buyers) return;
  shown.delete(place);
  const { payload, file } = buyers;
  if (factsOf(payload) === factsOf(sale.receipt)) return;
  complain(
    `${describe(sale)}: wrong, the buyer's receipt in ${file} says price ${payload.price_mcents}, the list says ${sale.receipt.price_mcents} mcents, and they are not the same receipt.`,
  );
}

/** A receipt but for who issued it: one that was handed out before it was sealed may name a former address. */
function factsOf(payload: ReceiptPayload): string {
  return canonicalJson({ ...payload, iss: '', log: payload.log.index });
}

/** What follows on the last sale that was listed: nothing may be logged or booked beyond it. */
function nameEnds({ lanes, complain }: AuditInput, tool: string): void {
  for (const lane of lanes.of(tool)) {
    const last = Math.max(lane.loggedSeq, lane.bookedSeq);
    for (const fault of nameMissing(tool, lane, lane.listedSeq + 1, last)) complain(fault);
  }
}

function addTo(sums: Sums, { receipt }: ListedSale): void {
  const [price, fee] = [BigInt(receipt.price_mcents), BigInt(receipt.fee_mcents)];
  // A call whose whole price was the fee brought the publisher nothing, and no entry.
  if (price === fee) return;
  sums.count += 1;
  sums.gross += price;
  sums.fees += fee;
  sums.net += price - fee;
}

function compareSums(sums: Sums, summary: ToolSummary, complain: (fault: string) => void): void {
  const pairs = [
    ['number of sales', BigInt(sums.count), summary.count],
    ['gross amount', sums.gross, summary.gross_mcents],
    ['fees', sums.fees, summary.fees_mcents],
    ['net amount', sums.net, summary.net_mcents],
  ] as const;
  for (const [what, fromReceipts, booked] of pairs) {
    if (fromReceipts === BigInt(booked)) continue;
    complain(`${summary.name}: wrong ${what}, the receipts say ${fromReceipts} and the books say ${booked}.`);
  }
}

function describe({ receipt }: ListedSale): string {
  return `${receipt.server} lane ${receipt.lane} number ${receipt.seq}`;
}

function placeOf({ lane, seq }: { lane: string; seq: number }): string {
  return `${lane} ${seq}`;
}
