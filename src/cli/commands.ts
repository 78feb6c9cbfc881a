import type { Command } from './command.ts';
import { packCommand } from './pack.ts';
import { reconcileCommand } from './reconcile.ts';

/** Every command, in the order in which `millicent --help` lists them. */
export const COMMANDS: readonly Command[] = [reconcileCommand, packCommand];
