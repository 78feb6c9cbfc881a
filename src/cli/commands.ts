import type { Command } from './command.ts';

/** How a command is found and told of. Only the one that is called is loaded: each brings what it alone needs. */
export type CommandEntry = {
  /** One word or two, as in `log fsck`. */
  name: string;
  /** One line. */
  summary: string;
  /** What stands after its name, for example `<folder>`. */
  takes?: string;
  load(): Promise<Command>;
};

/** Every command, in the order in which `millicent --help` lists them. */
export const COMMANDS: readonly CommandEntry[] = [
  {
    name: 'reconcile',
    summary: 'Holds every rail beside the books, to the last unit.',
    load: async () => (await import('./reconcile.ts')).reconcileCommand,
  },
  {
    name: 'pack',
    takes: '<folder>',
    summary: 'Writes the archive of a release, which its code hash names and its publisher signs.',
    load: async () => (await import('./pack.ts')).packCommand,
  },
  {
    name: 'verify',
    takes: '<bundle|receipt|name@version>',
    summary: 'Checks a proof bundle or a receipt, and says what was checked, trusted and not checked.',
    load: async () => (await import('./verify.ts')).verifyCommand,
  },
  {
    name: 'log fsck',
    summary: 'Fetches a whole log and builds it anew with merkletreejs: every root and every leaf.',
    load: async () => (await import('./log-fsck.ts')).logFsckCommand,
  },
  {
    name: 'audit-sales',
    summary: 'Proves from receipts and log that no sale was left out.',
    load: async () => (await import('./audit-sales.ts')).auditSalesCommand,
  },
  {
    name: 'monitor',
    takes: '<url>',
    summary: 'Follows a log and shouts when it forks, shrinks, rewrites or says something twice.',
    load: async () => (await import('./monitor.ts')).monitorCommand,
  },
  {
    name: 'witness',
    summary: 'Runs a witness: it cosigns what logs sign, and never two histories of one log.',
    load: async () => (await import('./witness.ts')).witnessCommand,
  },
  {
    name: 'reproduce',
    takes: '<receipt>',
    summary: 'Runs a paid call of deterministic code again, here, and compares the result.',
    load: async () => (await import('./reproduce.ts')).reproduceCommand,
  },
];
