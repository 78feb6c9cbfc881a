import { createLineSplitter } from '../../json-lines.ts';

export type SseReader = {
  push(chunk: Buffer): void;
  /** Where a stream can be taken up again, once an event had an id (MCP 2025-11-25, "Resumability"). */
  position(): { lastEventId: string; retryMs: number | undefined } | undefined;
};

const EVENT_ID_CHARACTERS_MAX = 1_024;
const RETRY_MS_MAX = 60_000;
const BOM = '\ufeff';

/** Reads a stream of server-sent events (HTML Standard, "9.2.6 Interpreting an event stream") as it comes. */
export function createSseReader(onMessage: (data: Buffer) => void): SseReader {
  let data: Buffer[] = [];
  let type = '';
  let lastEventId: string | undefined;
  let retryMs: number | undefined;
  let isFirst = true;

  const dispatch = () => {
    const [lines, name] = [data, type];
    data = [];
    type = '';
    // An event without data only moves the position; other types than `message` are not of MCP.
    if (lines.length === 0 || (name !== '' && name !== 'message')) return;
    const message = joinLines(lines);
    if (message.length > 0) onMessage(message);
  };
  const readField = (line: Buffer) => {
    const colon = line.indexOf(COLON);
    if (colon === 0) return;
    const name = line.toString('latin1', 0, colon < 0 ? line.length : colon);
    const value = colon < 0 ? EMPTY : line.subarray(line[colon + 1] === SPACE ? colon + 2 : colon + 1);
    if (name === 'data') data.push(value);
    if (name === 'event') type = value.toString();
    if (name === 'id') lastEventId = readEventId(value) ?? lastEventId;
    if (name === 'retry') retryMs = readRetry(value) ?? retryMs;
  };
  const readLine = (line: Buffer) => (line.length === 0 ? dispatch() : readField(line));
  const splitter = createLineSplitter((raw) => {
    let line = raw.at(-1) === CARRIAGE_RETURN ? raw.subarray(0, -1) : raw;
    if (isFirst && line.toString('utf8', 0, 3) === BOM) line = line.subarray(3);
    isFirst = false;
    // A lone carriage return ends a line as well.
    for (let end = line.indexOf(CARRIAGE_RETURN); end >= 0; end = line.indexOf(CARRIAGE_RETURN)) {
      readLine(line.subarray(0, end));
      line = line.subarray(end + 1);
    }
    readLine(line);
  });
  return {
    push: splitter.push,
    position: () => (lastEventId === undefined || lastEventId === '' ? undefined : { lastEventId, retryMs }),
  };
}

const COLON = 0x3a;
const SPACE = 0x20;
const CARRIAGE_RETURN = 0x0d;
const EMPTY = Buffer.alloc(0);
const LINE_FEED = Buffer.from('\n');

function joinLines(lines: Buffer[]): Buffer {
  const [only] = lines;
  if (only !== undefined && lines.length === 1) return only;
  return Buffer.concat(lines.flatMap((line, index) => (index === 0 ? [line] : [LINE_FEED, line])));
}

/** What goes back in a header; an id that cannot is none. */
function readEventId(value: Buffer): string | undefined {
  const text = value.toString('latin1');
  return text.length <= EVENT_ID_CHARACTERS_MAX && /^[\x20-\x7e]*$/.test(text) ? text : undefined;
}

function readRetry(value: Buffer): number | undefined {
  const text = value.toString('latin1');
  return /^\d{1,9}$/.test(text) ? Math.min(Number(text), RETRY_MS_MAX) : undefined;
}
