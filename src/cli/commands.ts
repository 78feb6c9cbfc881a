import { auditSalesCommand } from './audit-sales.ts';
import type { Command } from './command.ts';
import { logFsckCommand } from './log-fsck.ts';
import { monitorCommand } from './monitor.ts';
import { packCommand } from './pack.ts';
import { reconcileCommand } from './reconcile.ts';
import { reproduceCommand } from './reproduce.ts';
import { verifyCommand } from './verify.ts';
import { witnessCommand } from './witness.ts';

/** Every command, in the order in which `millicent --help` lists them. */
export const COMMANDS: readonly Command[] = [
  reconcileCommand,
  packCommand,
  verifyCommand,
  logFsckCommand,
  auditSalesCommand,
  monitorCommand,
  witnessCommand,
  reproduceCommand,
];
