/** Prints the walk-through: numbered steps, facts, checks that passed, progress of what takes long. */
export type Narrator = {
  title(text: string): void;
  /** Starts the next numbered step. */
  step(text: string): void;
  say(text: string): void;
  fact(label: string, value: string): void;
  /** Something that was verified just now. */
  checked(text: string): void;
  table(header: string[], rows: string[][]): void;
  progress(label: string, total: number): Progress;
  /** Shows that `work` is under way until it is done. */
  waiting<T>(label: string, work: Promise<T>): Promise<T>;
};

export type Progress = { advance(): void; done(): void };

export type NarratorOptions = {
  write(text: string): void;
  /** Whether lines can be rewritten and coloured. */
  isTerminal: boolean;
};

const INDENT = '    ';
const LABEL_WIDTH = 20;
const BAR_WIDTH = 30;
/** Without a terminal each report is a line of its own, so there are few of them. */
const REPORTS_MAX = 6;
const WAITING_REPORT_MS = 10_000;
const AMOUNT = /^-?\$?[0-9]+(?:\.[0-9]+)?$|^free$|^$/;
const CLEAR_LINE = '\r\u001b[2K';

export function createNarrator({ write, isTerminal }: NarratorOptions): Narrator {
  const paint = (code: number) => (text: string) => (isTerminal ? `\u001b[${code}m${text}\u001b[0m` : text);
  const [bold, dim, green, cyan] = [paint(1), paint(2), paint(32), paint(36)];
  const line = (text = '') => write(`${text}\n`);
  const status = (text: string) => write(isTerminal ? `${CLEAR_LINE}${text}` : `${text}\n`);
  const clearStatus = () => isTerminal && write(CLEAR_LINE);
  let steps = 0;

  return {
    title: (text) => line(`\n${bold(text)}`),
    step(text) {
      steps += 1;
      line(`\n${cyan(bold(`${String(steps).padStart(2)}  ${text}`))}`);
    },
    say: (text) => line(`${INDENT}${text}`),
    fact: (label, value) => line(`${INDENT}${dim(label.padEnd(LABEL_WIDTH))}${value}`),
    checked: (text) => line(`  ${green('✓')} ${text}`),
    table(header, rows) {
      for (const [index, row] of layOut([header, ...rows]).entries()) {
        if (index > 0) line(`${INDENT}${row}`);
        else if (row !== '') line(`${INDENT}${dim(row)}`);
      }
    },
    progress(label, total) {
      let count = 0;
      let reported = 0;
      return {
        advance() {
          count += 1;
          const share = count / total;
          if (!isTerminal && share < (reported + 1) / REPORTS_MAX) return;
          reported = Math.floor(share * REPORTS_MAX);
          const bar = isTerminal ? `${drawBar(share)} ` : '';
          status(`${INDENT}${dim(`${label} ${bar}${count} of ${total}`)}`);
        },
        done: () => void clearStatus(),
      };
    },
    async waiting(label, work) {
      const started = Date.now();
      const report = () => status(`${INDENT}${dim(`${label} ... ${seconds(started)}`)}`);
      if (isTerminal) report();
      const timer = setInterval(report, isTerminal ? 200 : WAITING_REPORT_MS);
      try {
        return await work;
      } finally {
        clearInterval(timer);
        clearStatus();
      }
    },
  };
}

function drawBar(share: number): string {
  const filled = Math.round(share * BAR_WIDTH);
  return `${'█'.repeat(filled)}${'░'.repeat(BAR_WIDTH - filled)}`;
}

export function seconds(since: number): string {
  return `${((Date.now() - since) / 1000).toFixed(1)} s`;
}

/** Columns as wide as their widest cell; in a column of amounts the decimal points stand in a line. */
function layOut(rows: string[][]): string[] {
  const columns = rows[0]?.map((_, column) => alignColumn(rows.map((row) => row[column] ?? ''))) ?? [];
  return rows.map((_, row) =>
    columns
      .map((cells) => cells[row] ?? '')
      .join('   ')
      .trimEnd(),
  );
}

function alignColumn([header = '', ...cells]: string[]): string[] {
  const isAmount = cells.length > 0 && cells.every((cell) => AMOUNT.test(cell));
  const fractionOf = (cell: string) => (cell.includes('.') ? cell.length - cell.indexOf('.') : 0);
  const fraction = Math.max(...cells.map(fractionOf));
  const align = (cell: string) => (/\d/.test(cell) ? cell + ' '.repeat(fraction - fractionOf(cell)) : cell);
  const padded = isAmount ? cells.map(align) : cells;
  const width = Math.max(header.length, ...padded.map((cell) => cell.length));
  return [header, ...padded].map((cell) => (isAmount ? cell.padStart(width) : cell.padEnd(width)));
}
