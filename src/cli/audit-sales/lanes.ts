import { decodeCommitment } from '../../provenance/index.ts';

/** What is known of one tool on one lane while it is audited. */
export type LaneAudit = {
  lane: string;
  /** The last number in the log. */
  loggedSeq: number;
  /** The last number in the list of sales. */
  listedSeq: number;
  /** The last number when the books were summed. */
  bookedSeq: number;
};

/** The lanes of each tool, by the tool's name. */
export type Lanes = { of(tool: string): LaneAudit[]; get(tool: string, lane: string): LaneAudit };

export function createLanes(): Lanes {
  const tools = new Map<string, Map<string, LaneAudit>>();
  return {
    of: (tool) => [...(tools.get(tool)?.values() ?? [])],
    get(tool, lane) {
      const lanes = tools.get(tool) ?? new Map<string, LaneAudit>();
      tools.set(tool, lanes);
      const known = lanes.get(lane) ?? { lane, loggedSeq: 0, listedSeq: 0, bookedSeq: 0 };
      lanes.set(lane, known);
      return known;
    },
  };
}

/** Follows the log: every lane of these tools counts 1, 2, 3, ... in it. */
export function watchLog(lanes: Lanes, tools: ReadonlySet<string>, complain: (fault: string) => void) {
  return (index: number, entry: Buffer): void => {
    const leaf = decodeCommitment(entry);
    if (!leaf) {
      complain(`The receipts log holds something at ${index} that is no commitment.`);
      return;
    }
    if (!tools.has(leaf.tool)) return;
    const lane = lanes.get(leaf.tool, leaf.lane);
    const where = `${leaf.tool} lane ${leaf.lane}`;
    if (leaf.seq <= lane.loggedSeq) {
      complain(`${where}: duplicate, the log holds number ${leaf.seq} again at leaf ${index}.`);
      return;
    }
    if (leaf.seq > lane.loggedSeq + 1) {
      complain(`${where}: gap, the log lacks ${spellRange(lane.loggedSeq + 1, leaf.seq - 1)}.`);
    }
    lane.loggedSeq = leaf.seq;
  };
}

/** Names what the books leave out of the log that was copied before they were summed up. */
export function* nameUnbooked(tool: string, lanes: Lanes): Generator<string> {
  for (const { lane, bookedSeq, loggedSeq } of lanes.of(tool)) {
    if (loggedSeq <= bookedSeq) continue;
    yield `${tool} lane ${lane}: left out, ${spellRange(bookedSeq + 1, loggedSeq)} is in the log and not in the books.`;
  }
}

/** Names what the list of a lane lacks from `from` to `to`: what the log proves, and what not even it holds. */
export function* nameMissing(tool: string, lane: LaneAudit, from: number, to: number): Generator<string> {
  const logged = Math.min(to, lane.loggedSeq);
  const where = `${tool} lane ${lane.lane}`;
  if (from <= logged) {
    yield `${where}: left out, ${spellRange(from, logged)} is in the log and not among the sales.`;
  }
  if (Math.max(from, logged + 1) <= to) {
    yield `${where}: gap, ${spellRange(Math.max(from, logged + 1), to)} is not among the sales.`;
  }
}

function spellRange(from: number, to: number): string {
  return from === to ? `number ${from}` : `numbers ${from} to ${to}`;
}
